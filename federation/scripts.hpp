// What must happen in one step in Redis. Each is run by EVAL, which works after a restart and a fail-over as before.
#pragma once

#include <string_view>

namespace stem::federation {

// Members of the delayed set that are due by the server's clock, as many as fit into one reply; one that would not fit
// alone is passed over. KEYS delayed set.
inline constexpr std::string_view kDueScript = R"lua(
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due, room = {}, 16777216
for page = 0, 9 do
  local members = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', page * 10, 10)
  for _, member in ipairs(members) do
    if #member <= room then
      due[#due + 1] = member
      room = room - #member
    end
  end
  if #members < 10 then break end
end
return due)lua";

// A due task moves from the delayed set to its lane. What fails leaves it where it is.
// KEYS delayed set, stream. ARGV member, then the entry's fields. 1 when it was there.
inline constexpr std::string_view kPromoteScript = R"lua(
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 2))
redis.call('ZREM', KEYS[1], ARGV[1])
return 1)lua";

// A member of the delayed set that is no task becomes a dead letter. KEYS delayed set, dead letters. ARGV member,
// letter. 1 when it was there.
inline constexpr std::string_view kBuryMemberScript = R"lua(
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('LPUSH', KEYS[2], ARGV[2])
redis.call('ZREM', KEYS[1], ARGV[1])
return 1)lua";

// A member of the delayed set that is refused becomes a dead letter, and has a result. KEYS delayed set, dead letters,
// result. ARGV member, letter, result, its TTL in ms. 1 when it was there.
inline constexpr std::string_view kRefuseMemberScript = R"lua(
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('LPUSH', KEYS[2], ARGV[2])
redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[4])
redis.call('ZREM', KEYS[1], ARGV[1])
return 1)lua";

// An entry ends, if it still is this consumer's: acknowledged, deleted, its result stored, its unique key free, and a
// dead letter kept where there is one. What gives memory back comes first: a Redis that is full refuses a script's first
// write only when that takes memory, and so drains. KEYS stream, dead letters, result, unique key (may be missing).
// ARGV group, consumer, entry, result, its TTL in ms, task id, letter (empty = none). 1 when it was ours, 0 when it is
// another's or over.
inline constexpr std::string_view kSettleScript = R"lua(
local mine = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if #mine == 0 or mine[1][2] ~= ARGV[2] then return 0 end
if ARGV[7] ~= '' then redis.call('LLEN', KEYS[2]) end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
redis.call('XDEL', KEYS[1], ARGV[3])
if KEYS[4] and redis.pcall('GET', KEYS[4]) == ARGV[6] then redis.call('DEL', KEYS[4]) end
redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[5])
if ARGV[7] ~= '' then redis.call('LPUSH', KEYS[2], ARGV[7]) end
return 1)lua";

// Several entries of one lane end, which are this consumer's because its lease has not run out: as above, without
// asking, and with one word to Redis for all of them where it takes one. Of tasks that nobody waits for it keeps marks
// alone, so that their host can learn that they have ended. Repeating it changes nothing but that they are marked twice.
// Entries between which a read has shown no other (`behind`: the id behind the last of them) leave the stream as its
// beginning, when nothing is before them: XDEL would walk through a node to each. Only when all of them were pending: a
// master that has lost the last of them may have given ids among theirs to others.
// A log that takes no mark (it is no stream, or its ids are used up) is begun anew: what is acknowledged above it has
// happened whatever becomes of the rest. KEYS stream, the log of the ended, results. ARGV group, for how many ms marks
// are kept, marks (may be empty), behind (may be empty), how many entries, the entries, for each result its text and TTL
// in ms.
inline constexpr std::string_view kSettleManyScript = R"lua(
local at = 5 + tonumber(ARGV[5])
local pending = redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 6, at))
if ARGV[4] ~= '' and pending == at - 5 and #redis.call('XRANGE', KEYS[1], '-', '(' .. ARGV[6], 'COUNT', 1) == 0 then
  redis.call('XTRIM', KEYS[1], 'MINID', ARGV[4])
else
  redis.call('XDEL', KEYS[1], unpack(ARGV, 6, at))
end
for i = 3, #KEYS do
  redis.call('SET', KEYS[i], ARGV[at + 1], 'PX', ARGV[at + 2])
  at = at + 2
end
if ARGV[3] ~= '' then
  local kept_from = string.format('%.0f', redis.call('TIME')[1] * 1000 - ARGV[2])
  local mark = {'XADD', KEYS[2], 'MINID', '~', kept_from, '*', 'ended', ARGV[3]}
  local marked = redis.pcall(unpack(mark))
  if type(marked) == 'table' and marked.err then
    redis.call('DEL', KEYS[2])
    redis.call(unpack(mark))
  end
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
return at)lua";

// The marks of a part of the log of the ended, without what is longer than any of ours: somebody else may have written
// more there than a reply takes. KEYS the log of the ended. ARGV where to begin. Answers with where to go on, the marks,
// and 1 when there may be more.
inline constexpr std::string_view kEndedScript = R"lua(
local from, marks = ARGV[1], {}
for page = 1, 12 do
  local entries = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 20)
  for _, entry in ipairs(entries) do
    from = '(' .. entry[1]
    if #entry[2][2] <= 16384 then marks[#marks + 1] = entry[2][2] end
  end
  if #entries < 20 then return {from, marks, 0} end
end
return {from, marks, 1})lua";

// Which of these results are there. KEYS results. For each 1 or 0.
inline constexpr std::string_view kHaveResultScript = R"lua(
local have = {}
for i, key in ipairs(KEYS) do have[i] = redis.call('EXISTS', key) end
return have)lua";

// Of two entries of one task, both given to this consumer, the second is dropped while the first is pending for it.
// KEYS streams of the two. ARGV group, consumer, first, second. 1 when it was dropped.
inline constexpr std::string_view kDropSecondScript = R"lua(
local mine = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if #mine == 0 or mine[1][2] ~= ARGV[2] then return 0 end
redis.call('XACK', KEYS[2], ARGV[1], ARGV[4])
redis.call('XDEL', KEYS[2], ARGV[4])
return 1)lua";

// An entry goes back to the end of its lane, if it still is this consumer's. KEYS stream. ARGV group, consumer, entry.
// 1 or 0.
inline constexpr std::string_view kReturnScript = R"lua(
local mine = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if #mine == 0 or mine[1][2] ~= ARGV[2] then return 0 end
local entry = redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3])
if #entry == 0 then return 0 end
redis.call('XADD', KEYS[1], '*', unpack(entry[1][2]))
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
redis.call('XDEL', KEYS[1], ARGV[3])
return 1)lua";

// A lease goes on, if it still is this consumer's. KEYS stream. ARGV group, consumer, entry. 1 or 0.
inline constexpr std::string_view kRenewScript = R"lua(
local mine = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if #mine == 0 or mine[1][2] ~= ARGV[2] then return 0 end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'JUSTID')
return 1)lua";

// The same for many of one lane. A renewal that arrives late must not take back what another has by now. KEYS stream.
// ARGV group, consumer, entries. Answers with those that are not this consumer's.
inline constexpr std::string_view kRenewManyScript = R"lua(
local others = {}
for i = 3, #ARGV do
  local mine = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)
  if #mine == 0 or mine[1][2] ~= ARGV[2] then
    others[#others + 1] = ARGV[i]
  else
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
  end
end
return others)lua";

// What an entry asks for, without its payload: its visibility timeout, empty when it names none; nil when there is no such
// entry; and of one that is too large for a reply its size there and the task's id (may be empty). KEYS stream. ARGV
// entry, most bytes.
inline constexpr std::string_view kLookScript = R"lua(
local entry = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if #entry == 0 then return false end
local fields, bytes, visibility, id = entry[1][2], 0, '', ''
for i = 1, #fields, 2 do
  local name, text = fields[i], fields[i + 1]
  bytes = bytes + #name + #text + 128
  if name == 'visibilityTimeout' and #text <= 20 then visibility = text end
  if name == 'id' and #text <= 64 then id = text end
end
if bytes > tonumber(ARGV[2]) then return {bytes, id} end
return visibility)lua";

// The task ids of a stream's entries, without what they carry: a reply of a thousand payloads would be refused.
// KEYS stream. ARGV where to begin. Answers with the entry to go on behind (empty = the end), the ids, and the
// entries that have them.
inline constexpr std::string_view kReadBackScript = R"lua(
local from, ids, places = ARGV[1], {}, {}
for page = 1, 50 do
  local entries = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 20)
  for _, entry in ipairs(entries) do
    from = '(' .. entry[1]
    local fields = entry[2]
    for i = 1, #fields, 2 do
      if fields[i] == 'id' and #fields[i + 1] <= 64 then
        ids[#ids + 1] = fields[i + 1]
        places[#places + 1] = entry[1]
        break
      end
    end
  end
  if #entries < 20 then return {'', ids, places} end
end
return {from, ids, places})lua";

// Which tasks are neither in their stream nor have a result. KEYS of each its stream and its result. ARGV of each its
// entry (empty = not known). 1 where it is gone, 0 where not.
inline constexpr std::string_view kGoneScript = R"lua(
local gone = {}
for i = 1, #ARGV do
  local here = redis.call('EXISTS', KEYS[2 * i]) == 1
  if not here and ARGV[i] ~= '' then here = #redis.call('XRANGE', KEYS[2 * i - 1], ARGV[i], ARGV[i]) > 0 end
  gone[i] = here and 0 or 1
end
return gone)lua";

// Results, as many as fit into one reply: nil what is not there or has no room in this one, empty what is too large.
// KEYS results. ARGV most bytes of one, most bytes of all.
inline constexpr std::string_view kResultsScript = R"lua(
local results, room = {}, tonumber(ARGV[2])
for i, key in ipairs(KEYS) do
  results[i] = false
  local bytes = redis.pcall('STRLEN', key)
  if type(bytes) == 'number' and bytes > 0 then
    if bytes > tonumber(ARGV[1]) then
      results[i] = ''
    elseif bytes <= room then
      results[i] = redis.call('GET', key)
      room = room - bytes
    end
  end
end
return results)lua";

}  // namespace stem::federation
