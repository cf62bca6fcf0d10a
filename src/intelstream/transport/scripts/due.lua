-- Delayed messages whose time has come go back into their stage's stream. They were counted when they were put aside.
-- KEYS 1 delayed zset, 2 input stream. ARGV 1 now ms, 2 count. Answers how many went and when the next one is due, or ''.
local moved = 0
for _, body in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])) do
  redis.call('XADD', KEYS[2], '*', 'd', body, 'n', 1)
  redis.call('ZREM', KEYS[1], body)
  moved = moved + 1
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {moved, first[2] or ''}
