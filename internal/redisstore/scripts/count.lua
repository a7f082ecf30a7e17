-- Counts the live sessions of a bucket by owner, and removes those that have ended for all gateways. Returns owner, number, owner, number …
local numbers, over = {}, false
for _, stored in ipairs(redis.call('HVALS', KEYS[1])) do
	if #stored ~= size then
		over = true
	else
		local owner, _, ends, by = struct.unpack(binding, stored)
		if live(ends, by) then
			numbers[owner] = (numbers[owner] or 0) + 1
		end
		over = over or now >= ends + grace
	end
end
if over then
	local all = redis.call('HGETALL', KEYS[1])
	for i = 1, #all, 2 do
		if #all[i + 1] ~= size or now >= select(3, struct.unpack(binding, all[i + 1])) + grace then
			redis.call('HDEL', KEYS[1], all[i])
		end
	end
end
local answer = {}
for owner, number in pairs(numbers) do
	answer[#answer + 1] = owner
	answer[#answer + 1] = number
end
return answer
