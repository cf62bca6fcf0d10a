-- Dead letters go back to work: each one that is still there leaves for a stream, and its place is freed with it.
-- KEYS 1 stream of dead letters, 2 sizes of the lane, 3 destination, 4 hash of the stage that gave up. ARGV 1 stage of the destination, 2 total bytes
-- allowed, then pairs: id, body. Answers the number revived, or -6 where the lane is full.
local OVERHEAD = 128
local added = 0
for i = 3, #ARGV, 2 do added = added + #ARGV[i + 1] + OVERHEAD end
if tonumber(redis.call('HGET', KEYS[2], 'total') or 0) + added > tonumber(ARGV[2]) then return -6 end
local revived = 0
for i = 3, #ARGV, 2 do
  if redis.call('XDEL', KEYS[1], ARGV[i]) == 1 then
    redis.call('XADD', KEYS[3], '*', 'd', ARGV[i + 1], 'n', 1)
    local b = #ARGV[i + 1] + OVERHEAD
    redis.call('HINCRBY', KEYS[2], ARGV[1] .. ':n', 1)
    redis.call('HINCRBY', KEYS[2], ARGV[1] .. ':b', b)
    redis.call('HINCRBY', KEYS[2], 'total', b)
    revived = revived + 1
  end
end
if revived > 0 then
  redis.call('HINCRBY', KEYS[4], 'dead', 0 - revived)
  redis.call('HINCRBY', KEYS[4], 'revived', revived)
end
return revived
