-- One request more in a bucket that begins with the first one and ends `seconds` later.
--
-- KEYS[1] the bucket. ARGV: limit, seconds. Returns {requests so far, the limit plus one at most; milliseconds left}.

local limit, seconds = tonumber(ARGV[1]), tonumber(ARGV[2])
local count = tonumber(redis.call("GET", KEYS[1])) or 0
local left = redis.call("PTTL", KEYS[1])
if left <= 0 then
  redis.call("SET", KEYS[1], 1, "EX", seconds)
  return {1, seconds * 1000}
end
if count <= limit then
  count = redis.call("INCR", KEYS[1])
end
return {count, left}
