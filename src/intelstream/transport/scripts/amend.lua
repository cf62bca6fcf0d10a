-- What an operator changes in dead letters is kept beside them, for those that are still there.
-- KEYS 1 stream of dead letters, 2 their edits, 3 places gone of the file that they lie in. ARGV 1 whether they lie in a
-- file ('1'), then triples: id, place, edit. Answers how many were there; -7 where the file is not settled.
local SETTLED = -1
local file = ARGV[1] == '1'
if file and redis.call('SISMEMBER', KEYS[3], SETTLED) == 0 then return -7 end
local count = 0
for i = 2, #ARGV, 3 do
  local there
  if file then
    there = redis.call('SISMEMBER', KEYS[3], ARGV[i + 1]) == 0
  else
    there = #redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i]) > 0
  end
  if there then
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 2])
    count = count + 1
  end
end
return count
