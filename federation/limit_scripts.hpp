// What hosts do in one step in Redis about limits and unique keys that they share (docs/federation.md, "Limits").
#pragma once

#include <string_view>

namespace stem::federation {

// Takes places in a rate: the generic cell rate algorithm by the clock of Redis. All places that may start at once,
// and of those that start within the horizon at most half, so that others find some. KEYS rate. ARGV places wanted,
// interval, tolerance, horizon (all us). Answers {places, us from now to the arrival time of the first}; without a place
// {0, us until there may be one}.
inline constexpr std::string_view kTakeRateScript = R"lua(
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local wanted, interval, tolerance, horizon = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local arrival = tonumber((redis.pcall('GET', KEYS[1]))) or 0
if not (arrival >= now) then arrival = now end
if arrival > now + 2 * (tolerance + interval + horizon) then arrival = now + tolerance + interval end
local at_once = math.floor((now + tolerance - arrival) / interval) + 1
local soon = math.floor((now + tolerance + horizon - arrival) / interval) + 1
local most = math.max(at_once, math.min(soon, math.max(at_once, 0) + math.ceil(horizon / interval / 2)))
local n = math.min(wanted, most)
if n < 1 then return {0, tostring(math.ceil(arrival - tolerance - now - horizon))} end
local after = arrival + n * interval
redis.call('SET', KEYS[1], string.format('%.3f', after), 'PX', math.ceil((after - now) / 1000) + 1000)
return {n, string.format('%.3f', arrival - now)}
)lua";

// Says how many places of a concurrency limit a host has and wants, and answers how many it has from now on. A host
// that is silent for the TTL has none. Each gets what it wants while there is enough for all; else equal shares, and
// the odd ones go round by turns. KEYS hash of hosts. ARGV host, places it cannot do without, places it wants, limit,
// TTL, length of a turn (ms). Answers {granted, its share, hosts that want more than they have}: more granted than its share
// means that it is to give some back.
inline constexpr std::string_view kTakePlacesScript = R"lua(
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local host, needs, wants, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local rows = redis.pcall('HGETALL', KEYS[1])
if rows.err then
  redis.call('DEL', KEYS[1])
  rows = {}
end
local others, names, used, unmet = {}, {}, 0, 0
for i = 1, #rows, 2 do
  local has, want, until_ms = string.match(rows[i + 1], '^(%d+) (%d+) (%d+)$')
  if rows[i] ~= host then
    if not has or tonumber(until_ms) <= now or tonumber(until_ms) > now + 2 * ARGV[5] then
      redis.call('HDEL', KEYS[1], rows[i])
    else
      has, want = tonumber(has), tonumber(want)
      used = used + has
      others[rows[i]] = want
      if want > 0 then names[#names + 1] = rows[i] end
      if want > has then unmet = unmet + 1 end
    end
  end
end
if wants > 0 then names[#names + 1] = host end
table.sort(names)
local reserved = 0
for i, name in ipairs(names) do
  local share = math.floor(limit / #names)
  if (i + math.floor(now / ARGV[6])) % #names < limit % #names then share = share + 1 end
  if name ~= host then reserved = reserved + math.min(others[name], share) end
end
local share = math.max(0, math.min(wants, limit - reserved))
local granted = math.max(needs, math.min(share, limit - used))
if granted == 0 and wants == 0 then
  redis.call('HDEL', KEYS[1], host)
else
  redis.call('HSET', KEYS[1], host, string.format('%d %d %d', granted, wants, now + ARGV[5]))
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
end
return {granted, share, unmet}
)lua";

// A task with a unique key is appended, unless another has the key. KEYS stream, unique key. ARGV task id, ms for which
// the key is its, then the entry's fields. Answers with the entry, or with {the task that has the key}.
inline constexpr std::string_view kAddUniqueScript = R"lua(
local holder = redis.pcall('GET', KEYS[2])
if type(holder) == 'string' and holder ~= ARGV[1] then return {holder} end
local entry = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3))
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return entry
)lua";

}  // namespace stem::federation
