-- Returns the mark KEYS[1], and behind it the number that the server drew when it was started. Where there is no mark, ARGV[4] becomes it.
local mark = redis.call('GET', KEYS[1])
if not mark then
	mark = ARGV[4]
	redis.call('PERSIST', KEYS[1]) -- after a write that needs no memory, the one that does is not denied
	redis.call('SET', KEYS[1], mark)
end
return mark .. ' ' .. string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
