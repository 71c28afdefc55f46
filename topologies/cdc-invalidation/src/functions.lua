#!lua name=headrace_cdc
-- The cache's side of CDC invalidation: versions, leases, generations. One call, one key, atomic.
--
-- entry (hash)   v  version of the last applied change        p  its log position (epoch and position)
--                g  generation its content belongs to, and of filled content the truncate known at its fill
--                d  content
--                x  "1": the row is known to be gone          l  lease of the reader that fills it
-- table (hash)   t  position of the last truncate             n  generation number
--                f  fingerprint of the current columns        h  highest position seen with them
--                o  highest position seen with the columns before
-- realm (hash)   floor        changes when data was lost      lease         last lease given
--                incarnation  of this data set                run           Redis run id that was last checked
--                beat:<lane>  batches that a lane has sent
--
-- All comparisons are of fixed-width text: a 64-bit position does not fit a Lua number.

local function generation(realm, number)
  return (redis.call('HGET', realm, 'floor') or '') .. '.' .. (number or '0')
end

-- Finds out whether content with this fingerprint at this position is of the table's current schema, and starts a new
-- generation where the schema has changed: added columns with a default change rows without any event.
local function observe(tbl, fingerprint, position)
  local t = redis.call('HMGET', tbl, 't', 'n', 'f', 'h', 'o')
  local truncated, number, known, high, old = t[1], t[2], t[3], t[4], t[5]
  if fingerprint == '' then return true, truncated, number end
  if not known then
    redis.call('HSET', tbl, 'f', fingerprint, 'h', position)
    return true, truncated, number
  end
  if known == fingerprint then
    if old and position <= old then return false, truncated, number end
    if position > high then redis.call('HSET', tbl, 'h', position) end
    return true, truncated, number
  end
  if position > high then
    number = tostring(tonumber(number or '0') + 1)
    redis.call('HSET', tbl, 'f', fingerprint, 'o', high, 'h', position, 'n', number)
    return true, truncated, number
  end
  return false, truncated, number
end

-- KEYS entry table realm; ARGV action version position fingerprint schema-position ttl-ms tombstone-ttl-ms content
local function apply(keys, args)
  local entry = keys[1]
  local action, version, position, ttl = args[1], args[2], args[3], tonumber(args[7])
  if action == 'DROP' then
    redis.call('HDEL', entry, 'd', 'x', 'l')
    return 'applied'
  end
  local current, truncated, number = observe(keys[2], args[4], args[5])
  if truncated and position <= truncated then return 'stale' end
  local stored = redis.call('HGET', entry, 'v')
  if stored then
    if version == stored then return 'equal' end
    if version < stored then return 'stale' end
  end
  redis.call('HDEL', entry, 'd', 'x', 'l')
  if action == 'SET' and current then
    redis.call('HSET', entry, 'v', version, 'p', position, 'g', generation(keys[3], number), 'd', args[8])
    ttl = tonumber(args[6])
  elseif action == 'DELETE' and current then
    redis.call('HSET', entry, 'v', version, 'p', position, 'g', generation(keys[3], number), 'x', '1')
  else
    redis.call('HSET', entry, 'v', version, 'p', position)
  end
  if ttl > 0 then redis.call('PEXPIRE', entry, ttl) else redis.call('PERSIST', entry) end
  return 'applied'
end

-- KEYS table; ARGV position
local function truncate(keys, args)
  local stored = redis.call('HGET', keys[1], 't')
  if stored and args[1] == stored then return 'equal' end
  if stored and args[1] < stored then return 'stale' end
  redis.call('HSET', keys[1], 't', args[1])
  return 'applied'
end

-- What a fill must find unchanged: floor, generation, truncate.
local function era(keys)
  local t = redis.call('HMGET', keys[2], 'n', 't')
  return generation(keys[3], t[1]), t[2]
end

-- KEYS entry table realm; ARGV fill-lifetime-ms. Gives {hit, content}, {absent} or {miss, token}.
local function read(keys, args)
  local e = redis.call('HMGET', keys[1], 'p', 'g', 'd', 'x', 'l')
  local current, truncated = era(keys)
  -- Content of a change is void by a truncate behind it. Filled content has no position: it is void by any truncate that
  -- was not known when it was filled.
  local written = e[2] == current and not (truncated and e[1] and e[1] <= truncated)
  local valid = written or e[2] == current .. '|' .. (truncated or '')
  if valid and e[3] then return {'hit', e[3]} end
  if valid and e[4] then return {'absent'} end
  local lease = e[5]
  local fresh = not lease
  if fresh then
    lease = redis.call('HINCRBY', keys[3], 'lease', 1) .. '@' .. (redis.call('HGET', keys[3], 'incarnation') or '')
    redis.call('HSET', keys[1], 'l', lease)
  end
  -- An entry without content: the lease must live as long as this reader's fill may take, also where an earlier reader
  -- has opened it; the fence lives at least as long as it did before.
  local lifetime, left = tonumber(args[1]), redis.call('PTTL', keys[1])
  if left == -1 and fresh and not e[1] or left >= 0 and left < lifetime then redis.call('PEXPIRE', keys[1], lifetime) end
  return {'miss', lease .. '|' .. current .. '|' .. (truncated or '')}
end

-- KEYS entry table realm; ARGV token ttl-ms [content]. Without content: the reader found no row.
-- Any change since the token was given took the lease away; so did an eviction. Then the fill is refused.
local function fill(keys, args)
  local current, truncated = era(keys)
  local lease = redis.call('HGET', keys[1], 'l')
  if not lease or args[1] ~= lease .. '|' .. current .. '|' .. (truncated or '') then return 'refused' end
  redis.call('HDEL', keys[1], 'l', 'd', 'x')
  local filled = current .. '|' .. (truncated or '')
  if args[3] then
    redis.call('HSET', keys[1], 'g', filled, 'd', args[3])
  else
    redis.call('HSET', keys[1], 'g', filled, 'x', '1')
  end
  local ttl = tonumber(args[2])
  if ttl > 0 then redis.call('PEXPIRE', keys[1], ttl) else redis.call('PERSIST', keys[1]) end
  return 'filled'
end

-- KEYS realm; ARGV lane known-beats known-incarnation run-id fresh-incarnation. Known values are empty for a lane that
-- remembers nothing. Gives the incarnation and whether data was found lost.
local function open(keys, args)
  local lane, beats, known, run, fresh = 'beat:' .. args[1], args[2], args[3], args[4], args[5]
  local r = redis.call('HMGET', keys[1], 'incarnation', 'run', lane)
  local lost
  if known ~= '' then
    lost = r[1] ~= known or tonumber(r[3] or '0') < tonumber(beats)
  else
    -- Nobody remembers what was there before this server was started.
    lost = r[1] and r[2] ~= run
  end
  local incarnation = r[1] or fresh
  if not r[1] then redis.call('HSET', keys[1], 'incarnation', incarnation) end
  if lost then
    -- A new floor makes every entry a miss; the beats are set right, so that the loss is found once.
    redis.call('HSET', keys[1], 'floor', fresh)
    if beats ~= '' then redis.call('HSET', keys[1], lane, beats) end
  end
  redis.call('HSET', keys[1], 'run', run)
  return {incarnation, lost and 1 or 0}
end

-- KEYS realm; ARGV lane
local function beat(keys, args)
  return redis.call('HINCRBY', keys[1], 'beat:' .. args[1], 1)
end

redis.register_function('headrace_apply', apply)
redis.register_function('headrace_truncate', truncate)
redis.register_function('headrace_read', read)
redis.register_function('headrace_fill', fill)
redis.register_function('headrace_open', open)
redis.register_function('headrace_beat', beat)
