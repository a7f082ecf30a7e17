-- Counts the live sessions of the buckets KEYS by owner, and removes those that have ended for all gateways. Returns owner, number, owner,
-- number …
local numbers = {}
for _, bucket in ipairs(KEYS) do
	local over = false
	for _, stored in ipairs(redis.call('HVALS', bucket)) do
		if #stored ~= size then
			over = true
		else
			local owner, ends, by = struct.unpack('>c8xxxxxxI6c4', stored)
			if live(ends, by) then
				numbers[owner] = (numbers[owner] or 0) + 1
			end
			over = over or now >= ends + grace
		end
	end
	if over then
		local all = redis.call('HGETALL', bucket)
		for i = 1, #all, 2 do
			if #all[i + 1] ~= size or now >= select(3, struct.unpack(binding, all[i + 1])) + grace then
				redis.call('HDEL', bucket, all[i])
			end
		end
	end
end
local answer = {}
for owner, number in pairs(numbers) do
	answer[#answer + 1] = owner
	answer[#answer + 1] = number
end
return answer
