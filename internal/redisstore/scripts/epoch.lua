-- Returns the mark KEYS[1], and behind it the number that the server drew when it was started. Where there is no mark, ARGV[4] becomes it. It
-- always writes, or tries to: a server that denies writes is not to look well to those who ask it only this.
redis.call('PERSIST', KEYS[1]) -- needs no memory; after it the write that does is not denied
local mark = redis.call('GET', KEYS[1])
if not mark then
	mark = ARGV[4]
	redis.call('SET', KEYS[1], mark)
end
return mark .. ' ' .. string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
