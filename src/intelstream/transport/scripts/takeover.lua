-- Entries of a worker that is gone become mine; its name goes when it has none left.
-- KEYS 1 input stream, 2 liveness key of that worker, 3 hash of the stage. ARGV 1 group, 2 that consumer, 3 me, 4 count.
-- Answers the ids taken. `tries` counts takeovers, nothing else.
if redis.call('EXISTS', KEYS[2]) == 1 then return {} end
local ids = {}
for _, e in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[4], ARGV[2])) do ids[#ids + 1] = e[1] end
if #ids == 0 then
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
  return {}
end
for _, id in ipairs(ids) do
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, id, 'JUSTID')
  redis.call('HINCRBY', KEYS[3], 'tries:' .. id, 1)
end
return ids
