-- A worker says that it lives, also where memory is short. KEYS 1 its liveness key. ARGV 1 value, 2 milliseconds.
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
