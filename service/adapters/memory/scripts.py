"""The scripts that the shared memory's server runs, each as one step.

The first argument of each is how long what it sets is kept, in milliseconds. A claim is a line of two words, which are
its meaning and its holder, followed by lines for its final events; see `core.attempt.claim`.
"""

from typing import Final

_GET: Final = """
local function get(key)
  local value = redis.pcall('GET', key)
  if type(value) ~= 'table' then return value end
  if string.find(value.err, 'WRONGTYPE', 1, true) then return false end
  return redis.call('GET', key)
end
"""
"""Get a value. A list, or any other value that is no text, is another program's: it counts as absent, and is replaced.
An error would concern all that shares the command, and end the connection. Any other error is raised."""

ABSENT: Final = """
for _, key in ipairs(KEYS) do redis.call('SET', key, ARGV[2], 'NX', 'PX', ARGV[1]) end
return 1
"""
"""Set keys that are not set."""

PUT: Final = """
for _, key in ipairs(KEYS) do redis.call('SET', key, ARGV[2], 'PX', ARGV[1]) end
return 1
"""
"""Set keys."""

PUT_EACH: Final = """
for place, key in ipairs(KEYS) do redis.call('SET', key, ARGV[place + 1], 'PX', ARGV[1]) end
return 1
"""
"""Set keys, each to a value of its own."""

EXCHANGE: Final = (
    _GET
    + """
if get(KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
)
"""Replace a value."""

START: Final = (
    _GET
    + """
local count, known = #KEYS / 2, {}
for place = 1, count do
  local claim, wanted = KEYS[count + place], ARGV[2 + place]
  known[place] = ''
  if not redis.call('SET', claim, wanted, 'NX', 'PX', ARGV[1]) then
    local found = get(claim)
    if not found then
      redis.call('SET', claim, wanted, 'PX', ARGV[1])
    elseif string.sub(found, 1, #wanted) ~= wanted then
      known[place] = found
    end
  end
  if known[place] == '' then redis.call('SET', KEYS[place], ARGV[2], 'PX', ARGV[1]) end
end
return known
"""
)
"""Set each key of the first half, if the claim in the second half is made, or has been made by the same holder."""

END: Final = (
    _GET
    + """
local found = {}
for place = 1, #KEYS, 2 do
  local number = (place + 1) / 2
  local before, after, ends = ARGV[3 * number - 1], ARGV[3 * number], ARGV[3 * number + 1]
  local known = get(KEYS[place]) or before
  found[number] = ''
  if string.sub(known, 1, #before) == before then
    redis.call('SET', KEYS[place], after .. string.sub(known, #before + 1) .. ends, 'PX', ARGV[1])
    if KEYS[place + 1] ~= KEYS[place] then redis.call('DEL', KEYS[place + 1]) end
  elseif string.match(known, '^%S*') == string.match(before, '^%S*') and not string.find(known, ends, 1, true) then
    found[number] = known
  end
end
return found
"""
)
"""Append to claims, each of which is followed by the record to delete, or by itself.

Returns the claims that another holder has.
It may be given again when it is not known whether it was applied."""

END_PART: Final = (
    _GET
    + """
local before, after, ends, first, events = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if KEYS[3] then
  local known = get(KEYS[2]) or before
  if string.sub(known, 1, #before) ~= before then
    return {string.find(known, ends, 1, true) and '' or known}
  end
  redis.call('SET', KEYS[2], after .. string.sub(known, #before + 1) .. ends, 'PX', ARGV[1])
  if KEYS[3] ~= KEYS[2] then redis.call('DEL', KEYS[3]) end
end
local whole = get(KEYS[1]) or first
if string.match(whole, '^%S*') == string.match(first, '^%S*') and not string.find(whole, events, 1, true) then
  redis.call('SET', KEYS[1], whole .. events, 'PX', ARGV[1])
end
return {''}
"""
)
"""Append to the claim of a request by any holder, and to that of a part.

The second and third key are the claim of the part, and the record to delete or the same again. Returns the part's claim
if another holder has it: then nothing is appended."""

RELEASE: Final = (
    _GET
    + """
for place = 1, #KEYS do
  local before, after = ARGV[2 * place], ARGV[2 * place + 1]
  local known = get(KEYS[place])
  if known and string.sub(known, 1, #before) == before then
    redis.call('SET', KEYS[place], after .. string.sub(known, #before + 1), 'PX', ARGV[1])
  end
end
return 1
"""
)
"""Replace the first line of claims."""

GET_CHANGED: Final = (
    _GET
    + """
local value = get(KEYS[1]) or ''
local version = value:sub(1, tonumber(ARGV[2]))
if version == ARGV[1] then return false end
return #value <= tonumber(ARGV[3]) and value or version
"""
)
"""Return a value unless it has a version. As `EXCHANGE`, this and the next take how long it is kept at the end."""

REPLACE: Final = (
    _GET
    + """
local value = get(KEYS[1]) or ''
if value:sub(1, tonumber(ARGV[2])) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return 1
"""
)
"""Replace a value of a version."""

SCRIPTS: Final = (ABSENT, PUT, PUT_EACH, EXCHANGE, START, END, END_PART, RELEASE, GET_CHANGED, REPLACE)
