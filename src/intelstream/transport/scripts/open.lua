-- Makes streams and groups, unless they are there; also where memory is full, for what is there has to drain.
-- KEYS 1 format, 2 ... streams. ARGV 1 format of the asker, 2 group. Answers the format there is; with a newer one
-- nothing is made.
local known = tonumber(redis.call('GET', KEYS[1]) or ARGV[1])
if known > tonumber(ARGV[1]) then return known end
for place = 2, #KEYS do
  local made = redis.pcall('XGROUP', 'CREATE', KEYS[place], ARGV[2], '0', 'MKSTREAM')
  if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then return made end
end
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return known
