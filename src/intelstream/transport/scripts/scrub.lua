-- Entries that were delivered once and are in no pending list (somebody deleted a consumer) come back, to me.
-- KEYS 1 input stream, 2 hash of the stage, which counts them. ARGV 1 group, 2 me, 3 first id to look at, 4 count.
-- Answers {next id to look at or '', ids ...}.
if redis.call('EXISTS', KEYS[1]) == 0 then return {''} end
local last
for _, g in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local m = {}
  for i = 1, #g, 2 do m[g[i]] = g[i + 1] end
  if m['name'] == ARGV[1] then last = m['last-delivered-id'] end
end
if not last then return {''} end
local answer = {''}
local seen = redis.call('XRANGE', KEYS[1], ARGV[3], last, 'COUNT', ARGV[4])
for _, e in ipairs(seen) do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], e[1], e[1], 1) == 0 then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, e[1], 'FORCE', 'JUSTID')
    answer[#answer + 1] = e[1]
  end
end
if #answer > 1 then redis.call('HINCRBY', KEYS[2], 'stranded', #answer - 1) end
if #seen == tonumber(ARGV[4]) then answer[1] = '(' .. seen[#seen][1] end
return answer
