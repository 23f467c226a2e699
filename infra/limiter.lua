-- A provider's pace: one hash per lane. Times are seconds by this server's clock, rates are calls per second.
--
-- KEYS[1] the lane. ARGV: verb (enter, refused, silent, answered), queue (urgent, patient), chance (0 to 1: jitter),
-- code of the refusal, seconds the provider asked for (or empty).
-- Returns {code that keeps the caller out or empty, seconds until it should come again, seconds of the pause left}.

local FLOOR = 1              -- slower than this is left to the provider's own Retry-After
local WINDOW = 10            -- over which the pace before the first refusal is measured
local RECOVERY = 0.05        -- of the refused pace, regained per second of success
local OVERSHOOT = 2          -- times the refused pace: as far as it may recover before it is forgotten
local FORGET = 120           -- after a pause; then nothing is limited until the next refusal
local SHORTEST, LONGEST_BACKOFF, LONGEST_PAUSE = 1, 60, 3600
local LONGEST_WAIT = 600     -- handed out; who comes back too early is told again
local SILENCES = 5           -- failures in a row, over all callers, that mean the provider is down
local IDLE = 60              -- an unlimited lane's state is kept this long

local verb, queue, chance, code, asked = ARGV[1], "next_" .. ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local time = redis.call("TIME")
local now = time[1] + time[2] / 1000000

local state, kept = {}, redis.call("HGETALL", KEYS[1])
for at = 1, #kept, 2 do
  state[kept[at]] = tonumber(kept[at + 1]) or kept[at + 1]
end
if state.forget and now >= state.forget then
  state = {window = state.window, count = state.count, before = state.before}
end
local quiet = state.quiet or 0

local function count()
  local window = math.floor(now / WINDOW)
  if state.window ~= window then
    state.before = state.window == window - 1 and state.count or 0
    state.window, state.count = window, 0
  end
  return now / WINDOW - window
end

local function measured()
  local elapsed = count()
  return (state.before * (1 - elapsed) + state.count) / WINDOW
end

local function save()
  local fields = {}
  for name, value in pairs(state) do
    fields[#fields + 1], fields[#fields + 2] = name, value
  end
  redis.call("DEL", KEYS[1])
  redis.call("HSET", KEYS[1], unpack(fields))
  redis.call("PEXPIRE", KEYS[1], math.ceil(1000 * (state.forget and state.forget - now or IDLE)))
end

local function say(out, wait)
  return {out, string.format("%.3f", wait), string.format("%.3f", math.max(0, quiet - now))}
end

-- A place of its own for every caller that is kept out, one after the other at the learned rate. Places further away
-- than the longest wait are not given: those callers come back spread over the second half of it.
local function later()
  local start = math.max(now, quiet, state[queue] or 0)
  if start - now > LONGEST_WAIT then
    return say(state.code, LONGEST_WAIT * (1 + chance) / 2)
  end
  state[queue] = start + 1 / state.rate
  return say(state.code, start - now + chance / state.rate)
end

local function admitted()
  if not state.rate then
    return true
  end
  if now < quiet then
    return false
  end
  local burst = math.max(2, state.rate)
  state.tokens = math.min(burst, state.tokens + (now - state.at) * state.rate)
  state.at = now
  if state.tokens < 1 and queue ~= "next_urgent" then  -- the urgent mind the pause only, at the patient's cost
    return false
  end
  state.tokens = math.max(1 - burst, state.tokens - 1)
  return true
end

local function enter()
  if not admitted() then
    return later()
  end
  count()
  state.count = state.count + 1
  return say("", 0)
end

-- Calls that were under way when a pause began can make it longer, but say nothing new about the rate; nor does a
-- second refusal in a row, which the growing pause answers.
local function refused()
  local fresh, strikes = now >= quiet, state.strikes or 0
  if fresh then
    if strikes == 0 then
      state.base = math.max(2 * FLOOR, state.rate or measured())
      state.rate = state.base / 2
    end
    state.strikes = strikes + 1
  end
  if fresh or asked then
    local pause = asked or math.min(LONGEST_BACKOFF, SHORTEST * 2 ^ (state.strikes - 1))
    quiet = math.max(quiet, now + math.min(pause, LONGEST_PAUSE))
    state.quiet, state.forget, state.tokens, state.at, state.code = quiet, quiet + FORGET, 1, quiet, code
  end
  return later()
end

local function silent()
  state.silences = (state.silences or 0) + 1
  if asked or state.silences >= SILENCES or (state.strikes or 0) > 0 then
    return refused()
  end
  return say("", 0)
end

local function answered()
  state.silences = 0
  if state.rate and now >= quiet then
    state.strikes = 0
    state.rate = math.min(OVERSHOOT * state.base, state.rate + RECOVERY * state.base / state.rate)
  end
  return say("", 0)
end

local reply = ({enter = enter, refused = refused, silent = silent, answered = answered})[verb]()
save()
return reply
