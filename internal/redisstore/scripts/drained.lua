-- Returns the endpoints that are marked as drained in KEYS[1]. ARGV[6] and so on are endpoints that the caller's configuration has: their marks are
-- renewed when they are ARGV[4] milliseconds old. Marks that nobody has renewed for ARGV[5] milliseconds go.
local renew, keep = tonumber(ARGV[4]), tonumber(ARGV[5])
local known, marks, all = {}, {}, redis.call('HGETALL', KEYS[1])
for i = 6, #ARGV do
	known[ARGV[i]] = true
end
for i = 1, #all, 2 do
	local endpoint, age = all[i], now - (tonumber(all[i + 1]) or 0)
	if known[endpoint] and age >= renew then
		redis.call('HDEL', KEYS[1], '') -- there is no such field: after a write that needs no memory, the one that does is not denied
		redis.call('HSET', KEYS[1], endpoint, string.format('%.0f', now))
	end
	if known[endpoint] or age < keep then
		marks[#marks + 1] = endpoint
	else
		redis.call('HDEL', KEYS[1], endpoint)
	end
end
return marks
