-- What all scripts begin with. KEYS[1] is what the script is about; ARGV[1] is the caller's time, by this server's clock, ARGV[2] the
-- grace, both in milliseconds, ARGV[3] the gateway that calls, in 4 bytes.
--
-- A call that was held up on its way is judged by the time at which it comes.
local clock = redis.call('TIME')
local now = math.max(tonumber(ARGV[1]), clock[1] * 1000 + math.floor(clock[2] / 1000))
local grace, me = tonumber(ARGV[2]), ARGV[3]

-- A binding is owner 8 bytes, claimed 6, ends 6, by 4; binding.go has the same.
local binding = '>c8I6I6c4'
local size = 24 -- what is not so long is not ours: it is overwritten, or removed
local several = '\0\0\0\0' -- by, when more than one gateway has had the session

local function live(ends, by)
	if by ~= me then
		return now < ends + grace
	end
	return now < ends
end
