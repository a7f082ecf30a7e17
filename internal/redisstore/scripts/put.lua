-- Claims, moves or renews sessions of one bucket: KEYS[1]. ARGV[4] is which ("claim", "move" or "renew"), ARGV[5] the channel of the news,
-- ARGV[6] what the news of a move begin with; then come three for each claim: the field, the binding as it is claimed, and the owner to
-- move from. Returns the binding of each that is in force, with a + behind it where it was stored anew or moved, or an empty string where there was no
-- memory for it.
local call, channel, moved = ARGV[4], ARGV[5], ARGV[6]
local answers, lively, reach = {}, {}, 0

-- What is stored anew comes first. When the memory is used up, Redis denies a script the writes that need more, but only until its first
-- write that needs none: so none may come before these.
for i = 7, #ARGV, 3 do
	local field, claim = ARGV[i], ARGV[i + 1]
	local stored = redis.call('HGET', KEYS[1], field)
	if stored then
		local _, _, ends, by = struct.unpack(binding, stored)
		stored = live(ends, by)
	end
	if stored then
		lively[#lively + 1] = i
	else
		local done = redis.pcall('HSET', KEYS[1], field, claim)
		if type(done) == 'table' and done.err then
			if not string.find(done.err, 'OOM', 1, true) then
				return done
			end
			answers[(i - 4) / 3] = ''
		else
			local owner, _, ends = struct.unpack(binding, claim)
			answers[(i - 4) / 3] = claim .. '+'
			reach = math.max(reach, ends)
			if call == 'move' then
				redis.call('PUBLISH', channel, moved .. field .. owner)
			end
		end
	end
end

if #lively > 0 then
	redis.call('HDEL', KEYS[1], '') -- there is no such field: this is the write that needs no memory
end
for _, i in ipairs(lively) do
	local field, claim, from = ARGV[i], ARGV[i + 1], ARGV[i + 2]
	local stored = redis.call('HGET', KEYS[1], field)
	local owner, claimed, ends, by = struct.unpack(binding, stored)
	local c_owner, c_claimed, c_ends = struct.unpack(binding, claim)
	local before, changes = owner, now < c_ends
	if not changes then -- it has ended before it came
	elseif call == 'move' then
		changes = owner == from
		if changes then
			owner = c_owner
			redis.call('PUBLISH', channel, moved .. field .. owner)
		end
	elseif call == 'renew' then
		if owner == c_owner then
			claimed = math.min(claimed, c_claimed)
		elseif owner == from then
			owner = c_owner
		elseif c_claimed < claimed then
			owner, claimed = c_owner, c_claimed
		end
		if owner ~= before then
			redis.call('PUBLISH', channel, moved .. field .. owner)
		end
	end
	if changes then
		ends = math.max(ends, c_ends)
		if by ~= me then
			by = several
		end
		local value = struct.pack(binding, owner, claimed, ends, by)
		if value ~= stored then
			redis.call('HSET', KEYS[1], field, value)
		end
		stored, reach = value, math.max(reach, ends)
	end
	if changes and call == 'move' then
		stored = stored .. '+'
	end
	answers[(i - 4) / 3] = stored
end

-- The bucket goes away by itself when nobody has renewed any of it for long. Its time is set a minute ahead, and so at most once a minute.
if reach > 0 and redis.call('PTTL', KEYS[1]) < reach + grace - now then
	redis.call('PEXPIRE', KEYS[1], math.max(1, reach + grace - now + 60000))
end
return answers
