-- Gives one entry of mine to another consumer. KEYS 1 stream. ARGV 1 group, 2 me, 3 to whom, 4 id.
-- Answers 1 if it has it, also when it had before; 0 where the entry is done, or somebody else's.
local own = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[4], ARGV[4], 1)
if #own == 0 then return 0 end
if own[1][2] == ARGV[3] then return 1 end
if own[1][2] ~= ARGV[2] then return 0 end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, ARGV[4], 'JUSTID')
return 1
