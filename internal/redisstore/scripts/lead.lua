-- Makes the caller the gateway that counts, for ARGV[4] milliseconds, unless another one is. KEYS[1] is who is: 4 bytes, then until when.
local stored, ends = redis.call('GET', KEYS[1]), now + tonumber(ARGV[4])
if stored and string.sub(stored, 1, 4) ~= me then
	local theirs = tonumber(string.sub(stored, 5)) or 0
	if now < theirs and theirs < ends + 60000 then -- no gateway counts for so long: the clock was set back since
		return 0
	end
end
redis.call('DEL', KEYS[1]) -- after a write that needs no memory, the one that does is not denied: counting is what frees memory
redis.call('SET', KEYS[1], me .. string.format('%.0f', ends), 'PX', string.format('%.0f', ends - now + 60000))
return 1
