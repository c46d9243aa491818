// What beat does in one step in Redis (docs/beat.md, "Across hosts").
#pragma once

#include <string_view>

namespace stem::federation {

// Tokens and versions are times of a server in us, or one more than the last: what is not from 0 to 9e15 (the year 2255,
// and whole numbers still are exact) was written by somebody else, and counts as none.

// Takes the lock, or renews it. KEYS lock, its fencing counter. ARGV owner, TTL in ms, the highest token this owner
// knows. Answers with whether it is ours (1 or 0), the token, and the server's time (s, µs). A token is never below the
// server's time in us nor below one that is known, so it goes up even when Redis has lost the counter.
inline constexpr std::string_view kTakeLockScript = R"lua(
local time = redis.call('TIME')
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return {0, 0, time[1], time[2]} end
local token = tonumber(redis.call('GET', KEYS[2])) or 0
if not (token >= 0 and token < 9e15) then token = 0 end
if holder and token > 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return {1, token, time[1], time[2]}
end
local now = time[1] * 1000000 + time[2]
token = math.max(token + 1, now, tonumber(ARGV[3]) + 1)
redis.call('SET', KEYS[2], string.format('%.0f', token))
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, token, time[1], time[2]})lua";

// Lets it go if it is the owner's. KEYS lock. ARGV owner.
inline constexpr std::string_view kFreeLockScript = R"lua(
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1]))lua";

// What there is: id, version, last fired time and the tick that is on its way of each entry, flat. KEYS index. ARGV what
// keys of entries begin with.
inline constexpr std::string_view kLookScript = R"lua(
local out = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local entry = redis.pcall('HMGET', ARGV[1] .. id, 'version', 'fired', 'sending')
  if entry[1] then
    out[#out + 1] = id
    out[#out + 1] = entry[1]
    out[#out + 1] = entry[2] or '0'
    out[#out + 1] = entry[3] or ''
  end
end
return out)lua";

// Fires a tick: the task goes into its stream and the entry's last fired time moves, or neither. The task first: what
// is refused there (no memory, a key of another type) leaves everything as it was. KEYS entry, index, history, stream.
// ARGV id, version, last fired time, planned time, next score, fired at, drift, task id, host, then the stream entry's
// fields. Answers 'fired', 'fenced' (fired already) or 'changed', and the version and last fired time that stand now.
inline constexpr std::string_view kFireScript = R"lua(
local now = redis.call('HMGET', KEYS[1], 'version', 'fired')
local version, fired = now[1] or '', now[2] or '0'
if version ~= ARGV[2] then return {'changed', version, fired} end
if fired ~= ARGV[3] then return {'fenced', version, fired} end
redis.call('XADD', KEYS[4], '*', unpack(ARGV, 10))
redis.call('HSET', KEYS[1], 'fired', ARGV[4], 'firedAt', ARGV[6], 'drift', ARGV[7], 'task', ARGV[8])
redis.call('HINCRBY', KEYS[1], 'count', 1)
redis.call('ZADD', KEYS[2], ARGV[5], ARGV[1])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', '1000', '*', 'task', ARGV[8], 'planned', ARGV[4], 'firedAt', ARGV[6],
           'drift', ARGV[7], 'host', ARGV[9])
return {'fired', version, ARGV[4]})lua";

// In a Redis Cluster the entry and the stream lie on different nodes, and a tick is fired in three steps, each of which
// may be repeated by anybody: it is written down with the entry, goes into its stream, and is crossed out.
//
// The first: the entry's last fired time moves, and the task is written down, or neither. KEYS entry, index, history,
// what is on its way. ARGV as of kFireScript up to the host, then the stream, the queue's marker, and the fields. Answers
// 'fired' and the tick's token, which is higher than those before; 'sending' while another tick is on its way; 'fenced' or
// 'changed'; with version and last fired time.
inline constexpr std::string_view kBeginFireScript = R"lua(
local now = redis.call('HMGET', KEYS[1], 'version', 'fired', 'token')
local version, fired = now[1] or '', now[2] or '0'
if version ~= ARGV[2] then return {'changed', version, fired} end
if fired ~= ARGV[3] then return {'fenced', version, fired} end
if redis.call('EXISTS', KEYS[4]) == 1 then return {'sending', version, fired} end
local time = redis.call('TIME')
local last = tonumber(now[3]) or 0
if not (last >= 0 and last < 9e15) then last = 0 end
local token = math.max(time[1] * 1000000 + time[2], last + 1)
token = string.format('%.0f', token)
redis.call('RPUSH', KEYS[4], token, unpack(ARGV, 10))
redis.call('HSET', KEYS[1], 'fired', ARGV[4], 'firedAt', ARGV[6], 'drift', ARGV[7], 'task', ARGV[8], 'token', token,
           'sending', token)
redis.call('HINCRBY', KEYS[1], 'count', 1)
redis.call('ZADD', KEYS[2], ARGV[5], ARGV[1])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', '1000', '*', 'task', ARGV[8], 'planned', ARGV[4], 'firedAt', ARGV[6],
           'drift', ARGV[7], 'host', ARGV[9])
return {'fired', version, ARGV[4], token})lua";

// The second. KEYS stream, marker. ARGV token, ms that the marker is kept, the entry's fields. 0 when this tick, or a
// later one of its schedule, is there already. A marker that is more than eight days ahead is nobody's: no marker is kept
// for as long.
inline constexpr std::string_view kSendTickScript = R"lua(
local last = redis.pcall('GET', KEYS[2])
last = type(last) == 'string' and tonumber(last) or 0
if last >= tonumber(ARGV[1]) and last < tonumber(ARGV[1]) + 691200000000 then return 0 end
redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3))
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1)lua";

// The third. KEYS entry, what is on its way. ARGV token.
inline constexpr std::string_view kSentTickScript = R"lua(
if redis.call('LINDEX', KEYS[2], 0) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
if redis.pcall('HGET', KEYS[1], 'sending') == ARGV[1] then redis.call('HDEL', KEYS[1], 'sending') end
return 1)lua";

// Counts something of an entry that is there. KEYS entry. ARGV field, by how much.
inline constexpr std::string_view kCountScript = R"lua(
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
return redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2]))lua";

// Makes an entry be as given, if it still is of the version that was read (empty: there is none). KEYS entry, index.
// ARGV id, version read, definition, created, since, next score. The new version, or empty: it is another by now.
inline constexpr std::string_view kPutScript = R"lua(
local version = redis.call('HGET', KEYS[1], 'version') or ''
if version ~= ARGV[2] then return '' end
local time = redis.call('TIME')
local last = tonumber(version) or 0
if not (last >= 0 and last < 9e15) then last = 0 end
local new = math.max(time[1] * 1000000 + time[2], last + 1)
new = string.format('%.0f', new)
redis.call('HSET', KEYS[1], 'version', new, 'definition', ARGV[3], 'created', ARGV[4], 'since', ARGV[5])
redis.call('HSETNX', KEYS[1], 'fired', '0')
redis.call('ZADD', KEYS[2], ARGV[6], ARGV[1])
return new)lua";

// KEYS entry, index, history, what is on its way. ARGV id, token of a tick that may go with it (empty = none). 1 when it
// was there; -1 and nothing is done while another tick of it is on its way: it has been counted as fired.
inline constexpr std::string_view kRemoveScript = R"lua(
local sending = redis.pcall('LINDEX', KEYS[4], 0)
if type(sending) == 'string' and sending ~= ARGV[2] then return -1 end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3], KEYS[4])
return redis.call('DEL', KEYS[1]))lua";

}  // namespace stem::federation
