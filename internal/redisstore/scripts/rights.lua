-- Tries each command that scripts and gateways use, on a key that is not there afterwards either, and returns the rights that the user lacks, as ACL SETUSER
-- takes them. KEYS[1] is a key that there is not, ARGV[1] the channel of the news: what is published there is no news, and ignored by all gateways.
local key, channel, missing = KEYS[1], ARGV[1], {}

-- try reports whether the user may do it. That a server has no memory, or takes no writes, is another matter.
local function try(command, ...)
	local done = redis.pcall(command, ...)
	local said = type(done) == 'table' and done.err or ''
	if not (string.find(said, 'NOPERM', 1, true) or string.find(said, 'The user executing the script', 1, true) or string.find(said, 'ACL failure', 1, true)) then
		return true
	end
	missing[#missing + 1] = string.find(said, 'channel', 1, true) and '&' .. channel or '+' .. string.lower(command)
	return false
end

for _, read in ipairs({ 'GET', 'HVALS', 'HGETALL', 'HLEN', 'PTTL', 'PERSIST' }) do
	try(read, key)
end
try('TIME')
try('INFO', 'server')
try('HGET', key, '')
try('HDEL', key, '')
try('PEXPIRE', key, 1)
try('SET', key, '', 'XX')
try('PUBLISH', channel, '')
if try('DEL', key) then
	try('HSET', key, '', '')
	redis.pcall('DEL', key)
end
return missing
