-- Marks belong to whoever set them first. A mark is a field of a hash: buckets by prefix and generation, all in the slot
-- of KEYS[1], whose name theirs begin with. A frame makes thousands of them, so they are named here and not in KEYS.
-- KEYS 1 name in front of every bucket. ARGV 1 newest generation, 2 number of generations that may hold a mark,
-- 3 milliseconds a bucket lives, 4 prefixes, as many bytes as hex digits of each, 5 records of 31 bytes: 15 of the
-- key's digest, 16 of the owner, 6 most marks. Answers the owners, one after the other, and how many marks of the oldest
-- generations went early because there were more.
-- KEYS 2 hash of the number of marks by generation.
local newest, generations = tonumber(ARGV[1]), tonumber(ARGV[2])
local prefixes, records = ARGV[4], ARGV[5]
local tails = {}
for age = 0, generations - 1 do tails[age + 1] = KEYS[1] .. (newest - age) .. ':' end
local owners, new = {}, 0
local count = #records / 31
local width = #prefixes / count
for i = 0, count - 1 do
  local prefix = string.sub(prefixes, i * width + 1, i * width + width)
  local rest = string.sub(records, i * 31 + 1, i * 31 + 15)
  local owner = string.sub(records, i * 31 + 16, i * 31 + 31)
  local found = false
  for age = 1, generations do
    found = redis.call('HGET', tails[age] .. prefix, rest)
    if found then break end
  end
  if not found then
    local bucket = tails[1] .. prefix
    redis.call('HSET', bucket, rest, owner)
    if redis.call('HLEN', bucket) == 1 then redis.call('PEXPIRE', bucket, ARGV[3]) end
    found = owner
    new = new + 1
  end
  owners[i + 1] = found
end
if new > 0 then redis.call('HINCRBY', KEYS[2], newest, new) end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
local most, total, early, live = tonumber(ARGV[6]), 0, 0, {}
local counted = redis.call('HGETALL', KEYS[2])
for i = 1, #counted, 2 do
  local generation = tonumber(counted[i])
  if generation <= newest - generations then
    redis.call('HDEL', KEYS[2], counted[i])  -- its buckets have expired
  else
    live[#live + 1] = {generation, tonumber(counted[i + 1])}
    total = total + tonumber(counted[i + 1])
  end
end
table.sort(live, function(a, b) return a[1] < b[1] end)
for _, one in ipairs(live) do
  if total <= most then break end
  for number = 0, 16 ^ width - 1 do
    redis.call('UNLINK', KEYS[1] .. one[1] .. ':' .. string.format('%0' .. width .. 'x', number))
  end
  redis.call('HDEL', KEYS[2], one[1])
  total = total - one[2]
  early = early + one[2]
end
return {table.concat(owners), early}
