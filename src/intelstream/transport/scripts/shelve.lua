-- A file of dead letters, which is on the disk by now, counts from here on: once, however often this is sent.
-- KEYS 1 stream of dead letters, 2 their groups, 3 their origins, 4 hash of the stage that gave up, 5 places gone of the
-- file.
-- ARGV 1 header: moved: whether the letters come from the stream, else from outside; letters: {{id, signature, origin,
-- bytes, first, time}, ...} in the order of the file. What has left the stream meanwhile, or is in it, is gone here.
-- Answers how many letters of the file count.
local SETTLED = -1
local h = cjson.decode(ARGV[1])
if redis.call('SISMEMBER', KEYS[5], SETTLED) == 1 then return #h.letters + 1 - redis.call('SCARD', KEYS[5]) end
local kept = 0
for number, l in ipairs(h.letters) do
  local counts
  if h.moved then
    counts = redis.call('XDEL', KEYS[1], l[1]) == 1
    if counts then redis.call('HINCRBY', KEYS[2], 'bytes', 0 - l[4]) end
  else
    counts = #redis.call('XRANGE', KEYS[1], l[1], l[1]) == 0
    if counts then
      redis.call('HINCRBY', KEYS[2], 'n:' .. l[2], 1)
      redis.call('HSETNX', KEYS[2], 'first:' .. l[2], l[5])
      redis.call('HSET', KEYS[2], 'last:' .. l[2], l[6])
      redis.call('HINCRBY', KEYS[4], 'dead', 1)
      redis.call('HINCRBY', KEYS[4], 'imported', 1)
      if l[3] ~= '' then redis.call('HINCRBY', KEYS[3], l[3], 1) end
    end
  end
  if counts then kept = kept + 1 else redis.call('SADD', KEYS[5], number - 1) end
end
redis.call('SADD', KEYS[5], SETTLED)
return kept
