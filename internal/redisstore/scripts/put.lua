-- Claims, moves or renews sessions of the buckets KEYS. ARGV[4] is which ("claim", "move" or "renew"), ARGV[5] the channel of the news,
-- ARGV[6] what the news of a move begin with; then comes one for each claim: which of KEYS 1 byte, the field 8, the binding as it is claimed 24,
-- and the owner to move from 8. Returns the binding of each that is in force, with a + behind it where it was stored anew or moved, or an
-- empty string where there was no memory for it.
local call, channel, moved = ARGV[4], ARGV[5], ARGV[6]
local ask, unpack, sub, max = redis.call, struct.unpack, string.sub, math.max
local answers, reach = {}, {}

-- A bucket goes away by itself when nobody has renewed any of it for long. It is made to last until `ahead` after a session's end when the session
-- is stored, and again when a renewal brings the session's end into the next span of that length: so it outlasts all its sessions without
-- being looked at for each renewal.
local ahead = 30000

-- put stores a binding; it returns false where there is no memory for it.
local function put(key, field, value)
	local done = redis.pcall('HSET', key, field, value)
	if type(done) ~= 'table' or not done.err then
		return true
	elseif string.find(done.err, 'OOM', 1, true) then
		return false
	end
	error(done)
end

-- merge is what becomes of a live session, and whether its owner is another one now.
local function merge(owner, claimed, ends, by, claim, from)
	local c_owner, c_claimed, c_ends = unpack(binding, claim)
	local before = owner
	if call == 'move' or call == 'renew' and (owner == c_owner or owner == from or c_claimed < claimed) then
		owner, claimed = c_owner, math.min(claimed, c_claimed)
	end
	if by ~= me then
		by = several
	end
	return struct.pack(binding, owner, claimed, max(ends, c_ends), by), call == 'move' or owner ~= before
end

-- take carries out the claim ARGV[i]; it returns false when the claim has to wait until live sessions can be written.
local full = false
local function take(i)
	local arg = ARGV[i]
	local key, field, claim, from = KEYS[string.byte(arg)], sub(arg, 2, 9), sub(arg, 10, 33), sub(arg, 34)
	local stored = ask('HGET', key, field)
	local c_ends = unpack('>I6', arg, 24)
	local owner, claimed, ends, by
	if stored and #stored == size then
		owner, claimed, ends, by = unpack(binding, stored)
	end
	if not ends or not live(ends, by) then
		answers[i - 6] = ''
		if put(key, field, claim) then
			answers[i - 6] = claim .. '+'
			reach[key] = max(reach[key] or 0, c_ends)
			if call == 'move' then
				ask('PUBLISH', channel, moved .. field .. sub(claim, 1, 8))
			end
		end
		return true
	end
	if full then -- behind those that wait already: they may be of the same session
		return false
	end
	answers[i - 6] = stored
	if now >= c_ends or call == 'move' and owner ~= from then -- it has ended before it came, or the session is another's
		return true
	end
	local value, news = merge(owner, claimed, ends, by, claim, from)
	full = value ~= stored and not put(key, field, value)
	if full then
		return false
	end
	if math.floor(c_ends / ahead) > math.floor(ends / ahead) then
		reach[key] = max(reach[key] or 0, c_ends)
	end
	if news then
		ask('PUBLISH', channel, moved .. field .. sub(value, 1, 8))
	end
	answers[i - 6] = call == 'move' and value .. '+' or value
	return true
end

local late = {}
for i = 7, #ARGV do
	if not take(i) then
		late[#late + 1] = i
	end
end

-- When the memory is used up, Redis denies a script the writes that need more, but only until its first write that needs none. So that one
-- comes after all that would be stored anew, and before the renewals, which are not to fail.
if full then
	ask('HDEL', KEYS[1], '') -- there is no such field
	full = false
	for _, i in ipairs(late) do
		take(i)
	end
end

for key, ends in pairs(reach) do
	local wanted = ends + grace + ahead - now
	if ask('PTTL', key) < wanted then
		ask('PEXPIRE', key, max(1, wanted + ahead))
	end
end
return answers
