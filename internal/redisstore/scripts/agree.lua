-- Agrees on the hash key KEYS[1]. ARGV[4] is what the caller has: "f" and the fingerprint of a key that it was given, or "k", a key that the
-- gateways made, 16 bytes, and since when they have agreed on it, 6 bytes: 0 when this is to begin now. What is there stays; but of two keys
-- that were made the one that was agreed on first becomes the one. Returns what is there now.
local made, since = 'k', 18 -- the first byte, and where the time begins
local own, stored = ARGV[4], redis.call('GET', KEYS[1])
redis.call('PERSIST', KEYS[1]) -- after a write that needs no memory, the one that does is not denied; and a replica denies all

local function agreed(value)
	if string.sub(value, 1, 1) == made and #value == since + 5 then
		return struct.unpack('>I6', value, since)
	end
end

if agreed(own) == 0 then
	own = string.sub(own, 1, since - 1) .. struct.pack('>I6', now)
end
if stored then
	local ours, theirs = agreed(own), agreed(stored)
	if not ours or not theirs or theirs <= ours then
		return stored
	end
end
redis.call('SET', KEYS[1], own)
return own
