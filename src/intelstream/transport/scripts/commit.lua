-- One step of one stage, whole or not at all. Everything is checked before the first write: Lua does not roll back.
--
-- KEYS 1 sizes of the lane, 2 hash of the stage; the rest as the header refers to them, by place.
-- ARGV 1 header (JSON), 2 ... bodies, referred to by place in ARGV.
-- Header:
--   g, c      consumer group and consumer
--   entries   {{stream, hash, stage, id, from, to, n, b}, ...}: what is taken. `to` "" ends the entry; `n` messages and
--             `b` bytes leave the backlog of `stage`
--   v, op     version of the stage that the worker started from ("" for none), and the name of this operation
--   state     {field, value or false, ...} of the stage's hash
--   outs      {{stream, body, stage, n}, ...}
--   later     {{zset, body, stage, n, due ms}, ...}
--   dead      {{stream, body}, ...}; groups {{hash, signature, number, bytes, first, time}, ...} of them by cause
--   count     {{hash, field, by}, ...}
--   room      {{stage, most messages}, ...}; total: most bytes of the lane, or false
--   wake      channel to tell that there is room again
-- Answers: {1, version} done, {0, version} done before, {-1} another worker's, {-2} another position, {-3} another
-- version, {-4} in no pending list, {-5, stage} full, {-6} lane full.
local h = cjson.decode(ARGV[1])
local OVERHEAD = 128
local GROUPS = 3000  -- fields of a hash of groups, three for each: causes come from outside, so they have to be bounded
local stage = KEYS[2]
local version = redis.call('HGET', stage, 'version') or '0'

local gone, pending = 0, 0
for _, e in ipairs(h.entries) do
  local own = redis.call('XPENDING', KEYS[e[1]], h.g, e[4], e[4], 1)
  if #own == 0 then
    if #redis.call('XRANGE', KEYS[e[1]], e[4], e[4]) > 0 then return {-4} end
    gone = gone + 1
  elseif own[1][2] ~= h.c then
    return {-1}
  else
    local at = redis.call('HGET', KEYS[e[2]], 'at:' .. e[4]) or ''
    if at == e[5] then
      pending = pending + 1
    elseif e[6] ~= '' and at == e[6] then
      gone = gone + 1
    else
      return {-2}
    end
  end
end
if gone > 0 and pending > 0 then return {-2} end
if gone > 0 then return {0, version} end
if h.v ~= '' then
  if #h.entries == 0 and redis.call('HGET', stage, 'op') == h.op then return {0, version} end
  if version ~= h.v then return {-3} end
end

local function foreign(places, kind)
  for _, one in ipairs(places) do
    local is = redis.call('TYPE', KEYS[one[1]]).ok
    if is ~= kind and is ~= 'none' then
      return redis.error_reply('WRONGTYPE ' .. KEYS[one[1]] .. ' is a ' .. is .. ', somebody else wrote it')
    end
  end
end
local refused = foreign(h.outs, 'stream') or foreign(h.later, 'zset') or foreign(h.dead, 'stream') or foreign(h.groups, 'hash')
if refused then return refused end

local added, taken = 0, 0
for _, o in ipairs(h.outs) do added = added + #ARGV[o[2]] + OVERHEAD end
for _, l in ipairs(h.later) do added = added + #ARGV[l[2]] + OVERHEAD end
for _, e in ipairs(h.entries) do taken = taken + e[8] end
if #h.outs > 0 then
  for _, r in ipairs(h.room) do
    if tonumber(redis.call('HGET', KEYS[1], r[1] .. ':n') or 0) >= r[2] then
      redis.call('HSET', KEYS[1], 'waiting', 1)
      return {-5, r[1]}
    end
  end
  if h.total and added > taken and tonumber(redis.call('HGET', KEYS[1], 'total') or 0) + added > h.total then
    redis.call('HSET', KEYS[1], 'waiting', 1)
    return {-6}
  end
end

-- writes ------------------------------------------------------------------------------------------------------------
local function size(name, n, b)
  redis.call('HINCRBY', KEYS[1], name .. ':n', n)
  redis.call('HINCRBY', KEYS[1], name .. ':b', b)
  redis.call('HINCRBY', KEYS[1], 'total', b)
end
for _, o in ipairs(h.outs) do
  redis.call('XADD', KEYS[o[1]], '*', 'd', ARGV[o[2]], 'n', o[4])
  size(o[3], o[4], #ARGV[o[2]] + OVERHEAD)
end
for _, l in ipairs(h.later) do
  redis.call('ZADD', KEYS[l[1]], l[5], ARGV[l[2]])
  size(l[3], l[4], #ARGV[l[2]] + OVERHEAD)
end
for _, d in ipairs(h.dead) do redis.call('XADD', KEYS[d[1]], '*', 'd', ARGV[d[2]]) end
for _, g in ipairs(h.groups) do
  local hash, cause = KEYS[g[1]], g[2]
  if redis.call('HEXISTS', hash, 'n:' .. cause) == 0 and redis.call('HLEN', hash) > GROUPS then cause = 'other' end
  redis.call('HINCRBY', hash, 'n:' .. cause, g[3])
  redis.call('HINCRBY', hash, 'bytes', g[4])
  redis.call('HSETNX', hash, 'first:' .. cause, g[5])
  redis.call('HSET', hash, 'last:' .. cause, g[6])
end
for i = 1, #h.state, 2 do
  if h.state[i + 1] == false then
    redis.call('HDEL', stage, h.state[i])
  else
    redis.call('HSET', stage, h.state[i], h.state[i + 1])
  end
end
if h.v ~= '' or #h.state > 0 then version = tostring(redis.call('HINCRBY', stage, 'version', 1)) end
if #h.entries == 0 and h.op ~= '' then redis.call('HSET', stage, 'op', h.op) end
for _, c in ipairs(h.count) do redis.call('HINCRBY', KEYS[c[1]], c[2], c[3]) end
for _, e in ipairs(h.entries) do
  size(e[3], 0 - e[7], 0 - e[8])
  if e[6] == '' then
    redis.call('HDEL', KEYS[e[2]], 'at:' .. e[4], 'tries:' .. e[4], 'alone:' .. e[4])
    redis.call('XACK', KEYS[e[1]], h.g, e[4])
    redis.call('XDEL', KEYS[e[1]], e[4])
  else
    redis.call('HSET', KEYS[e[2]], 'at:' .. e[4], e[6])
  end
end
if #h.entries > 0 and redis.call('HDEL', KEYS[1], 'waiting') == 1 then redis.call('PUBLISH', h.wake, '1') end
return {1, version}
