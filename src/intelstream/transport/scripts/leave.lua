-- Dead letters leave, each once: back to work in frames, or for good.
-- KEYS 1 stream of dead letters, 2 their groups, 3 their origins, 4 their edits, 5 hash of the stage that gave up,
-- 6 sizes of the lane, 7 destination, 8 places gone of the file that they lie in.
-- ARGV 1 header (JSON), 2 ... bodies of frames, referred to by place in ARGV.
-- Header:
--   file      whether they lie in a file, else in the stream
--   letters   {{id, place in the file, signature, origin, bytes}, ...}
--   frames    {{body, messages, {letter, ...}}, ...}: a frame goes if all of its letters are there; for good without any
--   to, room  stage of the destination, and most bytes of the lane
-- Answers how many left; -6 where the lane is full, -7 where the file is not settled.
local OVERHEAD, SETTLED = 128, -1
local h = cjson.decode(ARGV[1])
if h.file and redis.call('SISMEMBER', KEYS[8], SETTLED) == 0 then return -7 end

local function there(l)
  if h.file then return redis.call('SISMEMBER', KEYS[8], l[2]) == 0 end
  return #redis.call('XRANGE', KEYS[1], l[1], l[1]) > 0
end
local going, leaving, added = {}, {}, 0
for _, f in ipairs(h.frames) do
  local whole = true
  for _, place in ipairs(f[3]) do whole = whole and there(h.letters[place]) end
  if whole then
    going[#going + 1] = f
    added = added + #ARGV[f[1]] + OVERHEAD
    for _, place in ipairs(f[3]) do leaving[#leaving + 1] = h.letters[place] end
  end
end
if #h.frames == 0 then
  for _, l in ipairs(h.letters) do
    if there(l) then leaving[#leaving + 1] = l end
  end
end
if #leaving == 0 then return 0 end
if added > 0 and tonumber(redis.call('HGET', KEYS[6], 'total') or 0) + added > h.room then return -6 end

-- writes ------------------------------------------------------------------------------------------------------------
for _, f in ipairs(going) do
  redis.call('XADD', KEYS[7], '*', 'd', ARGV[f[1]], 'n', f[2])
  redis.call('HINCRBY', KEYS[6], h.to .. ':n', f[2])
end
if added > 0 then
  redis.call('HINCRBY', KEYS[6], h.to .. ':b', added)
  redis.call('HINCRBY', KEYS[6], 'total', added)
end
for _, l in ipairs(leaving) do
  if h.file then
    redis.call('SADD', KEYS[8], l[2])
  else
    redis.call('XDEL', KEYS[1], l[1])
    redis.call('HINCRBY', KEYS[2], 'bytes', 0 - l[5])
  end
  redis.call('HDEL', KEYS[4], l[1])
  local cause = l[3]
  if redis.call('HEXISTS', KEYS[2], 'n:' .. cause) == 0 then cause = 'other' end
  if redis.call('HINCRBY', KEYS[2], 'n:' .. cause, -1) <= 0 then
    redis.call('HDEL', KEYS[2], 'n:' .. cause, 'first:' .. cause, 'last:' .. cause)
  end
  if l[4] ~= '' and redis.call('HINCRBY', KEYS[3], l[4], -1) <= 0 then redis.call('HDEL', KEYS[3], l[4]) end
end
redis.call('HINCRBY', KEYS[5], 'dead', 0 - #leaving)
redis.call('HINCRBY', KEYS[5], #h.frames > 0 and 'revived' or 'discarded', #leaving)
return #leaving
