-- Takes the lease of a stage, unless its holder lives. Taking it raises the version, which is what shuts the last one out.
-- KEYS 1 hash of the stage, 2 liveness key of the holder as it was asked for. ARGV 1 me, 2 that holder ('' for none).
-- Answers {1, version} mine, {0, holder} a living one's, {-1, holder} changed meanwhile: ask again.
local holder = redis.call('HGET', KEYS[1], 'lease') or ''
if holder == ARGV[1] then return {1, redis.call('HGET', KEYS[1], 'version') or '0'} end
if holder ~= ARGV[2] then return {-1, holder} end
if holder ~= '' and redis.call('EXISTS', KEYS[2]) == 1 then return {0, holder} end
redis.call('HSET', KEYS[1], 'lease', ARGV[1])
return {1, tostring(redis.call('HINCRBY', KEYS[1], 'version', 1))}
