-- Makes the caller the gateway that counts, for ARGV[4] milliseconds, unless another one is. KEYS[1] is who is: 4 bytes, then until when.
local stored = redis.call('GET', KEYS[1])
if stored and string.sub(stored, 1, 4) ~= me and now < tonumber(string.sub(stored, 5)) then
	return 0
end
local ends = now + tonumber(ARGV[4])
redis.call('DEL', KEYS[1]) -- after a write that needs no memory, the one that does is not denied: counting is what frees memory
redis.call('SET', KEYS[1], me .. string.format('%.0f', ends), 'PX', string.format('%.0f', ends - now + 60000))
return 1
