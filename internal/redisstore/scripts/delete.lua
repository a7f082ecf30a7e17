-- Deletes the session of the field ARGV[5] of a bucket, and publishes the news ARGV[6] in the channel ARGV[4]. Returns whether it was live.
local was = 0
local stored = redis.call('HGET', KEYS[1], ARGV[5])
if stored then
	if #stored == size and live(select(3, struct.unpack(binding, stored))) then
		was = 1
	end
	redis.call('HDEL', KEYS[1], ARGV[5])
end
redis.call('PUBLISH', ARGV[4], ARGV[6])
return was
