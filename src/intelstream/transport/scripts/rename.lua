-- A renamed stage keeps its messages, state, retries and dead letters. Keys of the new name that are in use are kept.
-- KEYS 1 sizes, then pairs: old, new. ARGV 1 old stage, 2 new stage. Answers the number of keys moved.
local moved = 0
for i = 2, #KEYS, 2 do
  if redis.call('EXISTS', KEYS[i]) == 1 and redis.call('EXISTS', KEYS[i + 1]) == 0 then
    redis.call('RENAME', KEYS[i], KEYS[i + 1])
    moved = moved + 1
  end
end
if moved > 0 then
  for _, what in ipairs({':n', ':b'}) do
    local size = redis.call('HGET', KEYS[1], ARGV[1] .. what)
    if size then
      redis.call('HINCRBY', KEYS[1], ARGV[2] .. what, size)
      redis.call('HDEL', KEYS[1], ARGV[1] .. what)
    end
  end
end
return moved
