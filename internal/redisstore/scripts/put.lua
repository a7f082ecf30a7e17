-- Claims, moves or renews sessions of the buckets KEYS. ARGV[4] is which ("claim", "move" or "renew"), ARGV[5] the channel of the news,
-- ARGV[6] what the news of a move begin with; then come four for each claim: which of KEYS, the field, the binding as it is claimed, and the
-- owner to move from. Returns the binding of each that is in force, with a + behind it where it was stored anew or moved, or an empty string where there was no
-- memory for it.
local call, channel, moved = ARGV[4], ARGV[5], ARGV[6]
local answers, lively, reach = {}, {}, {}

-- What is stored anew comes first. When the memory is used up, Redis denies a script the writes that need more, but only until its first
-- write that needs none: so none may come before these.
for i = 7, #ARGV, 4 do
	local key, field, claim = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2]
	local stored = redis.call('HGET', key, field)
	if stored then
		stored = #stored == size and live(select(3, struct.unpack(binding, stored)))
	end
	if stored then
		lively[#lively + 1] = i
	else
		local done = redis.pcall('HSET', key, field, claim)
		if type(done) == 'table' and done.err then
			if not string.find(done.err, 'OOM', 1, true) then
				return done
			end
			answers[(i - 3) / 4] = ''
		else
			local owner, _, ends = struct.unpack(binding, claim)
			answers[(i - 3) / 4] = claim .. '+'
			reach[key] = math.max(reach[key] or 0, ends)
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
	local key, field, claim, from = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
	local stored = redis.call('HGET', key, field)
	local owner, claimed, ends, by = struct.unpack(binding, stored)
	local c_owner, c_claimed, c_ends = struct.unpack(binding, claim)
	local before, changes = owner, now < c_ends
	if not changes then -- it has ended before it came
	elseif call == 'move' then
		changes = owner == from
		if changes then
			owner, claimed = c_owner, math.min(claimed, c_claimed)
			redis.call('PUBLISH', channel, moved .. field .. owner)
		end
	elseif call == 'renew' then
		if owner == c_owner then
			claimed = math.min(claimed, c_claimed)
		elseif owner == from then
			owner, claimed = c_owner, math.min(claimed, c_claimed)
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
			redis.call('HSET', key, field, value)
		end
		stored, reach[key] = value, math.max(reach[key] or 0, ends)
	end
	if changes and call == 'move' then
		stored = stored .. '+'
	end
	answers[(i - 3) / 4] = stored
end

-- A bucket goes away by itself when nobody has renewed any of it for long. Its time is set a minute ahead, and so at most once a minute.
for key, ends in pairs(reach) do
	if redis.call('PTTL', key) < ends + grace - now then
		redis.call('PEXPIRE', key, math.max(1, ends + grace - now + 60000))
	end
end
return answers
