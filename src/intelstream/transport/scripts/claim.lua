-- Marks belong to whoever set them first. KEYS are buckets, `g` for each prefix: the generation written to first, then
-- the older ones that still live. ARGV 1 g, 2 milliseconds a bucket lives, then triples: place of the prefix's first
-- bucket in KEYS, rest of the digest, owner. Answers the owner of each, and the number of new marks at the end.
local g, ttl = tonumber(ARGV[1]), ARGV[2]
local owners, new = {}, 0
for i = 3, #ARGV, 3 do
  local first, rest, owner = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2]
  local found = false
  for k = first, first + g - 1 do
    found = redis.call('HGET', KEYS[k], rest)
    if found then break end
  end
  if not found then
    if redis.call('HSET', KEYS[first], rest, owner) == 1 and redis.call('HLEN', KEYS[first]) == 1 then
      redis.call('PEXPIRE', KEYS[first], ttl)
    end
    found = owner
    new = new + 1
  end
  owners[#owners + 1] = found
end
owners[#owners + 1] = new
return owners
