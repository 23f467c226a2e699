-- Failed log-ins: a counter for a username at an address, and one for the address, that lapse with their window.
-- An attempt counts as a failure while it is under way.
--
-- KEYS: both counters. ARGV: verb, the limit of each, seconds of the window.
-- Returns the seconds to wait, 0 when another attempt may be made.

local verb, window = ARGV[1], tonumber(ARGV[4])

local function enter()
  local wait = 0
  for at, key in ipairs(KEYS) do
    if tonumber(redis.call("GET", key) or 0) >= tonumber(ARGV[at + 1]) then
      wait = math.max(wait, redis.call("PTTL", key) / 1000)
    end
  end
  if wait > 0 then
    return string.format("%.3f", wait)
  end
  for _, key in ipairs(KEYS) do
    redis.call("SET", key, 0, "NX", "PX", math.floor(1000 * window))
    redis.call("INCR", key)
  end
  return "0"
end

local function lower(key)
  if tonumber(redis.call("GET", key) or 0) > 0 then
    redis.call("DECR", key)
  end
end

-- The password was right.
local function forgive()
  redis.call("DEL", KEYS[1])
  lower(KEYS[2])
  return "0"
end

-- Nobody knows whether it was: something else failed.
local function withdraw()
  lower(KEYS[1])
  lower(KEYS[2])
  return "0"
end

return ({enter = enter, forgive = forgive, withdraw = withdraw})[verb]()
