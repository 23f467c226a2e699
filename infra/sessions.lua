-- A family of refresh tokens: one hash per log-in. Times are seconds by this server's clock.
--
-- KEYS[1] the family. ARGV: verb, SHA-256 of the token, then
--   begin:   epoch, seconds a family may lie idle, seconds it may live at most
--   refresh: seconds idle, SHA-256 of the successor, nonce the successor was made with
-- Returns {rotated | reused | unknown, nonce of the successor, epoch}.

local GRACE = 10             -- a token whose answer was lost may be shown again for so long

local verb, shown = ARGV[1], ARGV[2]
local time = redis.call("TIME")
local now = time[1] + time[2] / 1000000

local function keep(idle, ends)
  redis.call("PEXPIRE", KEYS[1], math.max(1, math.floor(1000 * math.min(idle, ends - now))))
end

local function begin(epoch, idle, longest)
  local ends = now + longest
  redis.call("HSET", KEYS[1], "current", shown, "epoch", epoch, "ends", string.format("%.3f", ends))
  keep(tonumber(idle), ends)
  return {"rotated", "", epoch}
end

-- The token before the present one is known until its successor is used: only then does it leave `previous`.
local function refresh(idle, successor, nonce)
  local kept = redis.call("HMGET", KEYS[1], "current", "previous", "nonce", "rotated", "epoch", "ends")
  local current, previous, last_nonce, rotated, epoch, ends = unpack(kept)
  if not current then
    return {"unknown", "", "0"}
  end
  if shown == current then
    redis.call("HSET", KEYS[1], "current", successor, "previous", shown, "nonce", nonce,
      "rotated", string.format("%.3f", now))
    keep(tonumber(idle), tonumber(ends))
    return {"rotated", nonce, epoch}
  end
  if shown == previous and now - tonumber(rotated) <= GRACE then
    return {"rotated", last_nonce, epoch}
  end
  redis.call("DEL", KEYS[1])
  return {"reused", "", epoch}
end

return ({begin = begin, refresh = refresh})[verb](ARGV[3], ARGV[4], ARGV[5])
