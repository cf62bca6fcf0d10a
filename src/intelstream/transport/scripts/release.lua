-- Gives a lease back, if it is still mine. KEYS 1 hash of the stage. ARGV 1 me.
if redis.call('HGET', KEYS[1], 'lease') ~= ARGV[1] then return 0 end
return redis.call('HDEL', KEYS[1], 'lease')
