-- Marks the endpoint ARGV[5] as drained (ARGV[6] is "1") or takes the mark back, and publishes the news ARGV[7] in the channel ARGV[4]. KEYS[1]
-- are the marks, each with the time at which it was set or renewed (drained.lua): over ARGV[8] of them the oldest goes.
redis.call('HDEL', KEYS[1], ARGV[5]) -- after a write that needs no memory, the one that does is not denied
if ARGV[6] == '1' then
	redis.call('HSET', KEYS[1], ARGV[5], string.format('%.0f', now))
	if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[8]) then
		local all = redis.call('HGETALL', KEYS[1])
		local oldest
		for i = 1, #all, 2 do
			if not oldest or (tonumber(all[i + 1]) or 0) < (tonumber(all[oldest + 1]) or 0) then
				oldest = i
			end
		end
		redis.call('HDEL', KEYS[1], all[oldest])
	end
end
redis.call('PUBLISH', ARGV[4], ARGV[7])
return 1
