#!lua name=headrace_wal
-- The write-ahead log's writes to Redis: a value and the fence beside it, changed together or not at all.
--
-- fence (hash)   n  number of the last mutation that was applied, as text of a fixed width: it may not fit a Lua number
--                t  its token

-- KEYS value fence; ARGV operation number token value-ttl-ms fence-ttl-ms [value]
local function apply(keys, args)
  local number, token = args[2], args[3]
  local value_ttl, fence_ttl = tonumber(args[4]), tonumber(args[5])
  local fence = redis.call('HMGET', keys[2], 'n', 't')
  if fence[1] then
    if number < fence[1] then return 'stale' end
    if number == fence[1] then return 'equal' end
    if token == fence[2] then
      -- The same mutation again under a new number: what comes late from between the two is stale.
      redis.call('HSET', keys[2], 'n', number)
      redis.call('PEXPIRE', keys[2], fence_ttl)
      return 'equal'
    end
  end
  if args[1] == 'put' then
    if value_ttl > 0 then
      redis.call('SET', keys[1], args[6], 'PX', value_ttl)
    else
      redis.call('SET', keys[1], args[6])
    end
  else
    redis.call('DEL', keys[1])
  end
  redis.call('HSET', keys[2], 'n', number, 't', token)
  redis.call('PEXPIRE', keys[2], fence_ttl)
  return 'applied'
end

redis.register_function('headrace_wal_apply', apply)
