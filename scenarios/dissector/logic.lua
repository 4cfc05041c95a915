-- How the bytes of the links are read. Works with the Lua of Wireshark 4.0 (5.2) and later ones (5.4).

local LIMIT = 8192              -- longest body on the terminal and member links
local MONITORING_LIMIT = 16384  -- longest body on the monitoring link
local MAX_DEPTH = 8             -- of chip data
local MAX_OBJECTS = 512

local fourparty = Proto("fourparty", "Four-party payment network")
local links = {
  terminal = Proto("fourparty_terminal", "Four-party terminal link"),
  interbank = Proto("fourparty_interbank", "Four-party member link"),
  monitoring = Proto("fourparty_monitoring", "Four-party monitoring link"),
}

local function slug(name)
  return (name:lower():gsub("[^%w]+", "_"))
end

-- display filter fields

local FIELDS = {
  dialect = ProtoField.string("fourparty.dialect", "Dialect"),
  length = ProtoField.uint16("fourparty.length", "Length"),
  idle = ProtoField.none("fourparty.idle", "Idle probe"),
  tpdu = ProtoField.string("fourparty.tpdu", "TPDU"),
  tpdu_to = ProtoField.string("fourparty.tpdu.destination", "Destination address"),
  tpdu_from = ProtoField.string("fourparty.tpdu.source", "Source address"),
  head = ProtoField.string("fourparty.head", "Head"),
  head_class = ProtoField.string("fourparty.head.application", "Application class"),
  head_version = ProtoField.string("fourparty.head.software", "Software version"),
  head_status = ProtoField.string("fourparty.head.status", "Terminal status"),
  head_requirement = ProtoField.string("fourparty.head.requirement", "Processing requirement"),
  head_reserved = ProtoField.string("fourparty.head.reserved", "Reserved"),
  header = ProtoField.bytes("fourparty.header", "Header"),
  header_version = ProtoField.uint8("fourparty.header.version", "Version", base.HEX),
  header_total = ProtoField.string("fourparty.header.length", "Total length"),
  header_to = ProtoField.string("fourparty.header.destination", "Destination"),
  header_from = ProtoField.string("fourparty.header.source", "Source"),
  header_reserved = ProtoField.string("fourparty.header.reserved", "Reserved"),
  header_batch = ProtoField.uint8("fourparty.header.batch", "Batch"),
  header_transaction = ProtoField.string("fourparty.header.transaction", "Transaction information"),
  header_user = ProtoField.uint8("fourparty.header.user", "User information"),
  header_reject = ProtoField.string("fourparty.header.reject", "Reject code"),
  mti = ProtoField.string("fourparty.mti", "MTI"),
  transaction = ProtoField.string("fourparty.transaction", "Transaction"),
  bitmap = ProtoField.bytes("fourparty.bitmap", "Bitmap"),
  undecoded = ProtoField.bytes("fourparty.undecoded", "Not decoded"),
  error = ProtoField.string("fourparty.error", "Error"),
  emv = ProtoField.string("fourparty.emv", "Chip data object"),
  object = ProtoField.string("fourparty.object", "Object"),
  trace = ProtoField.string("fourparty.trace", "Trace"),
  balance = ProtoField.string("fourparty.balance", "Balance"),
  mac = ProtoField.string("fourparty.monitoring.mac", "MAC"),
  json = ProtoField.string("fourparty.monitoring.json", "Object"),
  request_in = ProtoField.framenum("fourparty.request_in", "Request in", base.NONE, frametype.REQUEST),
  response_in = ProtoField.framenum("fourparty.response_in", "Response in", base.NONE, frametype.RESPONSE),
  time = ProtoField.relative_time("fourparty.time", "Time from request to response"),
}

-- elements by other names, for filters
local ALIASES = {
  [2] = "pan", [3] = "processing_code", [7] = "transmitted", [11] = "stan", [32] = "acquirer", [33] = "forwarder",
  [37] = "rrn", [38] = "authorisation", [39] = "rc", [41] = "terminal", [42] = "merchant",
}
local AMOUNT = ProtoField.uint64("fourparty.amount", "Amount in fen")

local EXPERTS = {
  malformed = ProtoExpert.new("fourparty.malformed", "Malformed message", expert.group.MALFORMED, expert.severity.ERROR),
  declined = ProtoExpert.new("fourparty.declined", "Not approved", expert.group.RESPONSE_CODE, expert.severity.NOTE),
  chip_data = ProtoExpert.new("fourparty.emv.malformed", "Malformed chip data", expert.group.MALFORMED,
    expert.severity.WARN),
  dissector = ProtoExpert.new("fourparty.dissector_fault", "The dissector failed", expert.group.PROTOCOL,
    expert.severity.ERROR),
}

local element_fields, alias_fields, part_fields, tag_fields = {}, {}, {}, {}
do
  local all = { AMOUNT }
  for _, field in pairs(FIELDS) do all[#all + 1] = field end
  for number = 2, 128 do
    local own = TABLES.fields.terminal[number]
    element_fields[number] = ProtoField.string("fourparty.de" .. number, "DE" .. number .. " " .. own.name)
    all[#all + 1] = element_fields[number]
  end
  for number, name in pairs(ALIASES) do
    alias_fields[number] = ProtoField.string("fourparty." .. name, TABLES.fields.terminal[number].name)
    all[#all + 1] = alias_fields[number]
  end
  for _, elements in pairs(TABLES.parts) do
    for number, parts in pairs(elements) do
      part_fields[number] = part_fields[number] or {}
      for _, part in ipairs(parts) do
        local name = slug(part[1])
        if not part_fields[number][name] then
          part_fields[number][name] = ProtoField.string("fourparty.de" .. number .. "." .. name, part[1])
          all[#all + 1] = part_fields[number][name]
        end
      end
    end
  end
  for tag, known in pairs(TABLES.tags) do
    tag_fields[tag] = ProtoField.string("fourparty.emv." .. tag:lower(), tag .. " " .. known.name)
    all[#all + 1] = tag_fields[tag]
  end
  fourparty.fields = all
  local experts = {}
  for _, one in pairs(EXPERTS) do experts[#experts + 1] = one end
  fourparty.experts = experts
end

-- preferences

fourparty.prefs.terminal_ports = Pref.range("Terminal link ports", TABLES.ports.terminal,
  "TCP ports on which an acquirer awaits terminals", 65535)
fourparty.prefs.interbank_ports = Pref.range("Member link ports", TABLES.ports.interbank,
  "TCP ports on which a switch or an issuer awaits members", 65535)
fourparty.prefs.monitoring_ports = Pref.range("Monitoring link ports", TABLES.ports.monitoring,
  "TCP ports on which an acquirer awaits phones that attest themselves", 65535)
fourparty.prefs.unmask = Pref.bool("Show card data in clear", false,
  "Show PANs, tracks, PIN blocks, keys and chip data that are masked otherwise (the bytes always show)")

-- bytes and digits

local function hex(raw)
  return (raw:gsub(".", function(byte) return string.format("%02X", byte:byte()) end))
end

-- What is not ASCII has no place in a label: Wireshark takes text to be UTF-8.
local function clean(raw)
  return (raw:gsub("[^\32-\126]", "?"))
end

local function fault(offset, reason)
  error({ offset = offset, reason = reason }, 0)
end

local function need(count, raw, at, what)
  if #raw - at < count then
    fault(at, string.format("%s expected, %d are left", what or count .. " bytes", math.max(0, #raw - at)))
  end
  return raw:sub(at + 1, at + count)
end

-- decoding: a message's bytes to its elements, in pure Lua. Offsets count from 0.

local function read_length(field, raw, at)
  local part = need(field.width, raw, at, "a length of " .. field.width .. " bytes")
  local digits = field.length == "bcd" and hex(part) or part
  if not digits:match("^%d+$") then fault(at, "the length is not digits") end
  local length = tonumber(digits, 10)
  if length > field.max then
    fault(at, string.format("length %d exceeds the %d allowed", length, field.max))
  end
  return length, at + field.width
end

local function content_width(field, length)
  if field.coding ~= "bcd" then return length end
  if field.kind == "x" then return 1 + math.floor(length / 2) end
  return math.floor((length + 1) / 2)
end

local function read_element(field, raw, at)
  local length = field.max
  if field.width > 0 then length, at = read_length(field, raw, at) end
  local part = need(content_width(field, length), raw, at)
  local stop = at + #part
  if field.kind == "b" then return { value = part, is_bytes = true, from = at }, stop end
  if field.kind == "text" then return { value = part, is_text = true, from = at }, stop end
  local sign, content, begin = "", part, at
  if field.kind == "x" then
    sign = part:sub(1, 1)
    if sign ~= "C" and sign ~= "D" then fault(at, "the sign of the amount is neither C nor D") end
    content, at, length = part:sub(2), at + 1, length - 1
  end
  if field.coding == "bcd" then
    content = hex(content)
    if length % 2 == 1 then
      content = field.pad == "left" and content:sub(2) or content:sub(1, -2)
    end
    if field.kind == "z" then content = content:gsub("D", "=") end
  end
  if field.kind == "z" then
    if content:match("[^0-9=A-Fa-f:;<>?^]") then fault(at, "not track data") end
  elseif content:match("%D") then
    fault(at, "not digits")
  end
  return { value = sign .. content, from = begin }, stop
end

local function read_bitmap(raw, at)
  local present, begin = {}, at
  for part = 0, 1 do
    if #raw - at < 8 then fault(at, "8 bytes of bitmap expected, " .. math.max(0, #raw - at) .. " are left") end
    for index = 0, 7 do
      local byte = raw:byte(at + index + 1)
      for bit = 0, 7 do
        local number = part * 64 + index * 8 + bit + 1
        if number > 1 and math.floor(byte / 2 ^ (7 - bit)) % 2 == 1 then present[#present + 1] = number end
      end
    end
    local second = raw:byte(at + 1) >= 128
    at = at + 8
    if not second then break end
  end
  return present, begin, at
end

local HEADERS = {}

function HEADERS.terminal(raw)
  if #raw < 11 then fault(#raw, "TPDU and head have 11 bytes, " .. #raw .. " are here") end
  return 11
end

function HEADERS.interbank(raw)
  local here = math.min(#raw, 46)
  if here < 46 then fault(here, "the header has 46 bytes, " .. here .. " are here") end
  if raw:byte(1) ~= 46 then fault(0, "header length is " .. raw:byte(1) .. ", not 46") end
  local version = raw:byte(2)
  if version ~= 0x02 and version ~= 0x82 then fault(1, string.format("header version 0x%02x is unknown", version)) end
  local total = raw:sub(3, 6)
  if not total:match("^%d%d%d%d$") then fault(2, "total length in the header is not four digits") end
  if tonumber(total, 10) ~= #raw then
    fault(2, string.format("the header says %d bytes in all, %d are here", tonumber(total, 10), #raw))
  end
  return 46
end

local PLACES = { [0] = "MTI", [1] = "bitmap" }

-- What of the message can be read, and under `error` why no more.
local function decode(raw, dialect)
  local found = { elements = {}, by_number = {}, at = 0 }
  local element
  local fine, problem = pcall(function()
    local at = HEADERS[dialect](raw)
    found.header = at
    found.at = at
    local width = dialect == "terminal" and 2 or 4
    element = 0
    local mti = need(width, raw, at)
    mti = width == 2 and hex(mti) or mti
    if not mti:match("^%d+$") then fault(at, "not digits") end
    found.mti, found.at = mti, at + width
    element = 1
    local present
    present, found.bitmap_from, found.bitmap_to = read_bitmap(raw, found.at)
    found.present = present
    found.at = found.bitmap_to
    for _, number in ipairs(present) do
      element = number
      local field = TABLES.fields[dialect][number]
      local one, stop = read_element(field, raw, found.at)
      one.number, one.field, one.begin, one.stop = number, field, found.at, stop
      found.elements[#found.elements + 1] = one
      found.by_number[number] = one
      found.at = stop
    end
    element = nil
    if found.at < #raw then fault(found.at, #raw - found.at .. " bytes too many") end
  end)
  if not fine then
    if type(problem) ~= "table" then error(problem, 0) end
    local place = element and (PLACES[element] or "DE" .. element) or "message"
    found.error = string.format("%s at byte %d: %s", place, problem.offset, problem.reason)
  end
  return found
end

local function value_of(message, number)
  local one = message.by_number[number]
  return one and one.value or nil
end

-- masking

local function mask_pan(pan)
  if #pan < 13 then return ("*"):rep(#pan) end
  return pan:sub(1, 6) .. ("*"):rep(#pan - 10) .. pan:sub(-4)
end

local function mask_track(track)
  local stop = track:find("[=D]")
  if not stop then return ("*"):rep(#track) end
  return mask_pan(track:sub(1, stop - 1)) .. track:sub(stop, stop) .. ("*"):rep(#track - stop)
end

local function mask_digits(text)
  return (text:gsub("%d+", function(run) return #run >= 13 and mask_pan(run) or run end))
end

local function is_hidden(message, dialect, one)
  local number, value = one.number, one.value
  if number == 48 then
    if dialect == "terminal" then return not TABLES.settlement[message.mti] end
    return message.mti:sub(2, 2) == "8" or one.is_raw
  end
  if number == 61 then return not (dialect == "terminal" and value:match("^%d+$")) end
  if number == 63 then
    local response = message.mti:sub(3, 3) == "1" or message.mti:sub(3, 3) == "3"
    return not (dialect == "terminal" and response and not one.is_raw and value:sub(1, 2) ~= "SM")
  end
  return TABLES.hidden[number] or false
end

-- The text of an element as it may be shown, and whether that is all of it.
local function shown(message, dialect, one)
  local value = one.text
  if fourparty.prefs.unmask then return value, true end
  local number = one.number
  if not one.is_raw then
    if TABLES.accounts[number] then return mask_pan(value), false end
    if number == 35 or number == 36 then return mask_track(value), false end
  end
  if is_hidden(message, dialect, one) then
    return string.format("<%d %s>", #one.value, one.is_raw and "bytes" or "characters"), false
  end
  if TABLES.free_text[number] and not one.is_raw then
    local masked = mask_digits(value)
    return masked, masked == value
  end
  return value, true
end

-- meanings

local function money(digits)
  local fen = digits:gsub("^0+", "")
  fen = ("0"):rep(3 - #fen) .. fen
  return fen:sub(1, -3) .. "." .. fen:sub(-2)
end

local function transaction_of(message)
  local mti = message.mti
  local kind = mti:sub(1, 2) .. (mti:sub(3, 3):gsub("[13]", { ["1"] = "0", ["3"] = "2" })) .. "0"
  if kind:sub(2, 2) == "8" then
    local code, names = value_of(message, 70), TABLES.network_codes
    local private = value_of(message, 60)
    if not code and private then code, names = private:sub(9, 11), TABLES.terminal_network_codes end
    return code and names[code] or "network management" .. (code and code:match("^%d+$") and " " .. code or "")
  end
  local processing, condition = value_of(message, 3) or "", value_of(message, 25) or ""
  for _, row in ipairs(TABLES.transactions) do
    if kind:match("^" .. row[1] .. "$") and processing:sub(1, #row[2]) == row[2]
      and condition:sub(1, #row[3]) == row[3] then
      return row[4]
    end
  end
  return TABLES.message_classes[mti:sub(2, 2)] or "reserved"
end

local function security(message, dialect, value)
  if message.mti:sub(2, 2) == "8" then
    return dialect == "interbank" and ({ ["1"] = "PIN key", ["2"] = "MAC key" })[value:sub(1, 1)] or ""
  end
  local method = ({ ["1"] = "PIN block without PAN", ["2"] = "PIN block with PAN" })[value:sub(1, 1)]
  if not method then return "" end
  local algorithm = TABLES.encryptions[value:sub(2, 2)] or "unknown algorithm"
  return method .. ", " .. algorithm .. (value:sub(3, 3) == "1" and ", tracks encrypted" or "")
end

local function meaning(message, dialect, one)
  local number, value = one.number, one.value
  if one.is_raw then return "" end
  if number == 3 then return TABLES.processing_codes[value:sub(1, 2)] or "" end
  if number >= 4 and number <= 6 and value:match("^%d+$") then
    local currency = value_of(message, 49) or "156"
    return money(value) .. (number == 4 and currency == "156" and " CNY" or "")
  end
  if number == 22 then
    local way, pin = TABLES.entry_modes[value:sub(1, 2)], TABLES.pin_entry[value:sub(3, 3)]
    return (way or "") .. (way and pin and ", " or "") .. (pin or "")
  end
  if number == 25 then return TABLES.conditions[value] or "" end
  if number == 39 then return TABLES.response_codes[value] or "unknown code" end
  if number == 53 then return security(message, dialect, value) end
  if number == 70 then return TABLES.network_codes[value] or "" end
  return ""
end

-- the parts of an element

local function add_parts(item, one, range, parts)
  local at = 1
  -- packed digits are two to a byte: a part is shown on the bytes that it touches
  local packed = one.field.coding == "bcd"
  for _, part in ipairs(parts) do
    local value = one.value:sub(at, at + part[2] - 1)
    if value == "" then break end
    local from, to = at - 1, at - 2 + #value
    if packed then from, to = math.floor(from / 2), math.floor(to / 2) end
    local names = one.number == 60 and TABLES.part_meanings[part[1]] or nil
    local known = names and names[value]
    item:add(part_fields[one.number][slug(part[1])], range(one.from - one.begin + from, to - from + 1), value)
      :append_text(known and " (" .. known .. ")" or "")
    at = at + part[2]
  end
end

local function add_balances(item, one, range)
  for at = 1, #one.value - 19, 20 do
    local part = clean(one.value:sub(at, at + 19))
    local amount = part:sub(9)
    local text = "account " .. part:sub(1, 2) .. " type " .. part:sub(3, 4)
    if amount:match("^%d+$") then
      text = text .. " currency " .. part:sub(5, 7) .. ": " .. (part:sub(8, 8) == "D" and "-" or "") .. money(amount)
    else
      text = text .. ": not an amount"
    end
    item:add(FIELDS.balance, range(one.from - one.begin + at - 1, 20), text)
  end
end

-- All objects, or the trace alone, which says nothing of a card.
local function add_objects(item, one, range, whole)
  local at, raw = 1, one.value
  while at <= #raw do
    local tag, length = raw:match("^([A-Z0-9][A-Z0-9])(%d%d%d)", at)
    if not tag or at + 4 + tonumber(length, 10) > #raw then return end
    local size = tonumber(length, 10)
    local part, value = range(one.from - one.begin + at - 1, 5 + size), clean(raw:sub(at + 5, at + 4 + size))
    if whole then item:add(FIELDS.object, part, tag .. ": " .. value) end
    if tag == TABLES.trace and value:match("^%x+$") and #value >= 32 then
      item:add(FIELDS.trace, part, value:sub(1, 32))
    end
    at = at + 5 + size
  end
end

-- chip data: objects of BER-TLV

local function read_tag(raw, at, limit)
  local stop = at + 1
  if raw:byte(at + 1) % 32 == 31 then
    while true do
      if stop == limit then fault(at, "tag cut short") end
      local more = raw:byte(stop + 1) >= 128
      stop = stop + 1
      if not more then break end
      if stop - at == 3 then fault(at, "tag of more than three bytes") end
    end
  end
  return hex(raw:sub(at + 1, stop)), stop
end

local function read_tlv_length(raw, at, limit)
  if at >= limit then fault(at, "length missing") end
  local first = raw:byte(at + 1)
  if first < 128 then return first, at + 1 end
  local octets = first - 128
  if octets == 0 then fault(at, "indefinite length") end
  if octets > 2 then fault(at, "length field of " .. octets + 1 .. " bytes, at most 3 are read") end
  if at + 1 + octets > limit then fault(at, "length cut short") end
  local length = raw:byte(at + 2)
  if octets == 2 then length = length * 256 + raw:byte(at + 3) end
  return length, at + 1 + octets
end

local ACCOUNT_TAGS = { ["5A"] = true, ["57"] = true, ["9F6B"] = true }

local function mask_tag(tag, value)
  local text = hex(value)
  local known = TABLES.tags[tag]
  if fourparty.prefs.unmask or not (known and known.sensitive) then return text end
  if not ACCOUNT_TAGS[tag] then return ("*"):rep(#text) end
  local account, rest = text:match("^(%d+)(.*)$")
  if not account then return ("*"):rep(#text) end
  if tag == "5A" then return mask_pan(account) end
  return mask_pan(account) .. rest:sub(1, 1) .. ("*"):rep(#rest - 1)
end

local function add_tlv(item, raw, range, at, limit, depth, budget)
  while at < limit do
    local first = raw:byte(at + 1)
    if first == 0x00 or first == 0xFF then
      at = at + 1
    else
      if depth > MAX_DEPTH then fault(at, "objects nested deeper than " .. MAX_DEPTH .. " levels") end
      if budget[1] == 0 then fault(at, "more than " .. MAX_OBJECTS .. " objects") end
      budget[1] = budget[1] - 1
      local tag, after_tag = read_tag(raw, at, limit)
      local length, start = read_tlv_length(raw, after_tag, limit)
      if start + length > limit then
        fault(at, string.format("%s cut short: %d bytes announced, %d there", tag, length, limit - start))
      end
      local known = TABLES.tags[tag]
      local name = known and known.name or "unknown"
      local value = raw:sub(start + 1, start + length)
      local constructed = math.floor(first / 32) % 2 == 1
      local text = constructed and "" or mask_tag(tag, value)
      local object = item:add(tag_fields[tag] or FIELDS.emv, range(at, start + length - at), text)
      local label = tag .. " " .. name .. (text ~= "" and ": " .. text or "")
      if known and known.textual and not known.sensitive and value:match("^[\32-\126]+$") then
        label = label .. ' "' .. value .. '"'
      end
      object:set_text(label)
      if constructed then add_tlv(object, raw, range, start, start + length, depth + 1, budget) end
      at = start + length
    end
  end
end

local function add_chip_data(item, one, range)
  local inside = range(one.from - one.begin, #one.value)
  local fine, problem = pcall(add_tlv, item, one.value, inside, 0, #one.value, 1, { MAX_OBJECTS })
  if fine then return end
  if type(problem) ~= "table" then error(problem, 0) end
  item:add_proto_expert_info(EXPERTS.chip_data, "not TLV at offset " .. problem.offset .. ": " .. problem.reason)
end

-- Whether a text element holds text: ASCII, or GBK whose characters are whole.
local function is_printable(raw)
  if raw:match("[%z\1-\31\127]") then return false end
  local rest = raw:gsub("[\129-\254][\64-\126\128-\254]", "")
  return not rest:match("[\128-\255]")
end

local function add_element(tree, message, dialect, one, tvb)
  local range = tvb(one.begin, one.stop - one.begin)
  local field = one.field
  one.text = one.value
  one.is_raw = one.is_bytes or one.is_text and not is_printable(one.value)
  if one.is_raw then
    one.text = #one.value == 8 and one.value:match("^%w+$") or hex(one.value)
  end
  local text, whole = shown(message, dialect, one)
  local known = meaning(message, dialect, one)
  local item
  if whole and text == one.value and text:match("[\128-\255]") then
    -- only Wireshark's own string items come out of GBK whole
    item, text = tree:add_packet_field(element_fields[one.number], tvb(one.from, #one.value), ENC_GB18030)
    text = text or clean(one.value)
  else
    text = text:gsub("[\128-\255]+", "?")
    item = tree:add(element_fields[one.number], range, text)
  end
  item:set_text(string.format("DE%d %s: %s%s", one.number, field.name, text, known ~= "" and " (" .. known .. ")" or ""))
  if alias_fields[one.number] then
    tree:add(alias_fields[one.number], range, text):set_hidden()
  elseif one.number == 4 then
    tree:add(AMOUNT, range, UInt64(tonumber(one.value:sub(-9), 10), 0) + UInt64(tonumber(one.value:sub(1, -10), 10), 0)
      * UInt64(1000000000, 0)):set_hidden()
  end
  if one.number == 55 then
    add_chip_data(item, one, range)
  elseif one.number == 59 then
    add_objects(item, one, range, whole and not one.is_raw)
  elseif whole and not one.is_raw then
    local parts = TABLES.parts[dialect][one.number]
    if one.number == 54 then
      add_balances(item, one, range)
    elseif parts and (one.number ~= 48 or TABLES.settlement[message.mti]) then
      add_parts(item, one, range, parts)
    end
  end
  if one.number == 39 and one.value ~= "00" and message.mti:sub(3, 3):match("[13]") then
    item:add_proto_expert_info(EXPERTS.declined, "not approved: " .. clean(one.value) .. " " .. known)
  end
end

-- headers

local SHOW_HEADER = {}

local function digits(tvb, from, to)
  local raw = hex(tvb(math.floor(from / 2), math.floor(to / 2) - math.floor(from / 2) + 1):raw())
  return raw:sub(from % 2 + 1, from % 2 + 1 + to - from)
end

function SHOW_HEADER.terminal(tree, tvb)
  local to, from = digits(tvb, 2, 5), digits(tvb, 6, 9)
  local tpdu = tree:add(FIELDS.tpdu, tvb(0, 5), digits(tvb, 0, 9))
  tpdu:append_text(": to " .. to .. " from " .. from)
  tpdu:add(FIELDS.tpdu_to, tvb(1, 2), to)
  tpdu:add(FIELDS.tpdu_from, tvb(3, 2), from)
  local head = tree:add(FIELDS.head, tvb(5, 6), digits(tvb, 10, 21))
  head:add(FIELDS.head_class, tvb(5, 1), digits(tvb, 10, 11))
  head:add(FIELDS.head_version, tvb(6, 1), digits(tvb, 12, 13))
  head:add(FIELDS.head_status, tvb(7, 1), digits(tvb, 14, 14))
  local requirement = digits(tvb, 15, 15)
  local meant = TABLES.requirements[requirement]
  head:add(FIELDS.head_requirement, tvb(7, 1), requirement):append_text(meant and " (" .. meant .. ")" or "")
  head:add(FIELDS.head_reserved, tvb(8, 3), digits(tvb, 16, 21))
end

function SHOW_HEADER.interbank(tree, tvb)
  local function text(at, length) return (clean(tvb(at, length):raw()):gsub(" +$", "")) end
  local item = tree:add(FIELDS.header, tvb(0, 46))
  item:set_text(string.format("Header: to %s from %s, reject code %s", text(6, 11), text(17, 11), text(41, 5)))
  local version = item:add(FIELDS.header_version, tvb(1, 1))
  if tvb(1, 1):uint() == 0x82 then version:append_text(" (test)") end
  item:add(FIELDS.header_total, tvb(2, 4), text(2, 4))
  item:add(FIELDS.header_to, tvb(6, 11), text(6, 11))
  item:add(FIELDS.header_from, tvb(17, 11), text(17, 11))
  item:add(FIELDS.header_reserved, tvb(28, 3), text(28, 3))
  item:add(FIELDS.header_batch, tvb(31, 1))
  item:add(FIELDS.header_transaction, tvb(32, 8), text(32, 8))
  item:add(FIELDS.header_user, tvb(40, 1))
  item:add(FIELDS.header_reject, tvb(41, 5), text(41, 5))
end

-- requests and their responses: the same trace number, terminal and class of message on one connection

local stream_of = Field.new("tcp.stream")
local asked, answered, asking = {}, {}, {}

local function link_up(message, dialect, pinfo, tree)
  local stan, mti = value_of(message, 11), message.mti
  if not stan then return end
  local stream = stream_of()
  local identity = table.concat({ stream and tostring(stream.value) or "", dialect, mti:sub(2, 2), stan,
    value_of(message, 41) or "", dialect == "interbank" and value_of(message, 7) or "" }, "|")
  local place = pinfo.number .. "|" .. mti .. "|" .. identity
  local is_response = mti:sub(3, 3):match("[13]") ~= nil
  if not pinfo.visited then
    if not is_response then
      asked[identity] = { number = pinfo.number, at = pinfo.rel_ts, place = place }
    elseif asked[identity] then
      asking[place] = asked[identity]
      answered[asked[identity].place] = pinfo.number
    end
  end
  if is_response and asking[place] then
    tree:add(FIELDS.request_in, asking[place].number):set_generated()
    local seconds = pinfo.rel_ts - asking[place].at
    local whole = math.floor(seconds)
    tree:add(FIELDS.time, NSTime.new(whole, math.floor((seconds - whole) * 1e9 + 0.5))):set_generated()
  elseif not is_response and answered[place] then
    tree:add(FIELDS.response_in, answered[place]):set_generated()
  end
end

function fourparty.init()
  asked, answered, asking = {}, {}, {}
end

-- a message

local LABELS = { terminal = "terminal", interbank = "member", monitoring = "monitoring" }

local function summary(message)
  local text = { message.mti, transaction_of(message) }
  local response = value_of(message, 39)
  if message.mti:sub(3, 3):match("[13]") and response then
    text[#text + 1] = "-> " .. clean(response) .. " " .. (TABLES.response_codes[response] or "unknown code") .. ","
  end
  local function add(name, number)
    local value = value_of(message, number)
    if value and value:match("^[\32-\126]+$") then text[#text + 1] = name .. " " .. value:gsub(" +$", "") end
  end
  add("STAN", 11)
  add("term", 41)
  local amount = value_of(message, 4)
  if amount then text[#text + 1] = "amount " .. money(amount) end
  return table.concat(text, " ")
end

local function show_message(tvb, raw, dialect, pinfo, tree)
  local message = decode(raw, dialect)
  if message.header then SHOW_HEADER[dialect](tree, tvb) end
  local text = "malformed message"
  if message.mti then
    local width = dialect == "terminal" and 2 or 4
    local at = message.header
    local class = TABLES.message_classes[message.mti:sub(2, 2)] or "reserved"
    local kind = TABLES.message_functions[message.mti:sub(3, 3)] or "message"
    tree:add(FIELDS.mti, tvb(at, width), message.mti):append_text(" (" .. class .. " " .. kind .. ")")
    text = summary(message)
    tree:add(FIELDS.transaction, tvb(at, width), transaction_of(message)):set_generated()
  end
  if message.bitmap_to then
    local bitmap = tree:add(FIELDS.bitmap, tvb(message.bitmap_from, message.bitmap_to - message.bitmap_from))
    bitmap:append_text(": " .. table.concat(message.present, ", "))
  end
  for _, one in ipairs(message.elements) do add_element(tree, message, dialect, one, tvb) end
  if message.error then
    local at = math.min(message.at, #raw)
    if at < #raw then tree:add(FIELDS.undecoded, tvb(at, #raw - at)) end
    tree:add(FIELDS.error, tvb(), message.error):add_proto_expert_info(EXPERTS.malformed, message.error)
    text = text .. " [malformed: " .. message.error .. "]"
  else
    link_up(message, dialect, pinfo, tree)
  end
  return text
end

local json = Dissector.get("json")

local function show_monitoring(tvb, raw, pinfo, tree)
  if #raw <= 8 then
    tree:add(FIELDS.error, tvb(), "a body of " .. #raw .. " bytes"):add_proto_expert_info(EXPERTS.malformed)
    return "monitoring [malformed]"
  end
  tree:add(FIELDS.mac, tvb(0, 8), clean(tvb(0, 8):raw()))
  json:call(tvb(8):tvb(), pinfo, tree)
  local text = "monitoring"
  for _, member in ipairs({ "type", "purpose", "terminal" }) do
    local value = raw:match('"' .. member .. '":"([%w_ -]+)"')
    if value then text = text .. (member == "terminal" and " term " or " ") .. value end
  end
  return text
end

-- frames on the stream

-- Length of the prefix and the body's length that it says; nil and why where it is no length.
local PREFIXES = {}

function PREFIXES.terminal(raw, at)
  local length = raw:byte(at + 1) * 256 + raw:byte(at + 2)
  if length > LIMIT then return nil, "length " .. length .. " exceeds " .. LIMIT end
  return length
end

function PREFIXES.monitoring(raw, at)
  local length = raw:byte(at + 1) * 256 + raw:byte(at + 2)
  if length > MONITORING_LIMIT then return nil, "length " .. length .. " exceeds " .. MONITORING_LIMIT end
  return length
end

function PREFIXES.interbank(raw, at)
  local prefix = raw:sub(at + 1, at + 4)
  if not prefix:match("^%d%d%d%d$") then return nil, "the length prefix is not four digits" end
  local length = tonumber(prefix, 10)
  if length > LIMIT then return nil, "length " .. length .. " exceeds " .. LIMIT end
  return length
end

-- Several messages may share a packet, and a packet may be dissected again: which one begins its line?
local last_number, last_first

local function put_info(pinfo, text, first)
  pinfo.cols.protocol:set("4-PARTY")
  if pinfo.number ~= last_number or first == last_first then
    last_number, last_first = pinfo.number, first
    pinfo.cols.info:set(text)
  else
    pinfo.cols.info:append("; " .. text)
  end
  pinfo.cols.info:fence()
end

local function show_frame(tvb, link, width, pinfo, tree)
  local top = tree:add(fourparty, tvb())
  local length = tvb:len() - width
  local text = "idle probe"
  top:add(FIELDS.dialect, tvb(0, 0), link):set_generated()
  top:add(FIELDS.length, tvb(0, width), length)
  if length == 0 then
    top:add(FIELDS.idle, tvb())
  else
    local body = tvb(width):tvb()
    local raw = body():raw()
    local fine, result = pcall(function()
      if link == "monitoring" then return show_monitoring(body, raw, pinfo, top) end
      return show_message(body, raw, link, pinfo, top)
    end)
    if fine then
      text = result
    else
      text = "not dissected"
      top:add_proto_expert_info(EXPERTS.dissector, tostring(result))
    end
  end
  top:set_text("Four-party " .. LABELS[link] .. " link: " .. text)
  put_info(pinfo, text, tvb:offset() .. link .. text)
end

local function dissect(link, tvb, pinfo, tree)
  local size, at = tvb:len(), 0
  local width = link == "interbank" and 4 or 2
  local raw = tvb():raw()
  while at < size do
    local missing
    if size - at < width then
      missing = DESEGMENT_ONE_MORE_SEGMENT
    else
      local length, reason = PREFIXES[link](raw, at)
      if not length then
        local top = tree:add(fourparty, tvb(at))
        top:add(FIELDS.dialect, tvb(at, 0), link):set_generated()
        top:set_text("Four-party " .. LABELS[link] .. " link: no frame")
        top:add(FIELDS.error, tvb(at), reason):add_proto_expert_info(EXPERTS.malformed, reason)
        put_info(pinfo, "[no frame: " .. reason .. "]", at .. reason)
        return size
      end
      if size - at < width + length then
        missing = width + length - (size - at)
      else
        show_frame(tvb(at, width + length):tvb(), link, width, pinfo, tree)
        at = at + width + length
      end
    end
    if missing then
      if pinfo.can_desegment > 0 then
        pinfo.desegment_offset = at
        pinfo.desegment_len = missing
        return size
      end
      local top = tree:add(fourparty, tvb(at))
      top:set_text("Four-party " .. LABELS[link] .. " link: part of a message")
      put_info(pinfo, "[part of a message]", at .. "part")
      return size
    end
  end
  return size
end

-- which bytes are ours

local function is_tls(raw)
  return raw:match("^[\20-\23]\3[%z\1-\4]") ~= nil
end

local function link_of(raw)
  local digits_ = raw:match("^(%d%d%d%d)%.[\2\130]%d%d%d%d")
  if digits_ then return raw:sub(7, 10) == digits_ and "interbank" or nil end
  if #raw < 15 then return nil end
  local length = raw:byte(1) * 256 + raw:byte(2)
  if length >= 21 and length <= LIMIT and raw:byte(3) == 0x60 and raw:byte(14) >= 1 and raw:byte(14) <= 9
    and raw:byte(15) < 0x60 and raw:byte(15) % 16 < 10 then
    return "terminal"
  end
  if length > 8 and length <= MONITORING_LIMIT and raw:match("^..[0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F]{") then
    return "monitoring"
  end
  return nil
end

for link, proto in pairs(links) do
  function proto.dissector(tvb, pinfo, tree)
    -- of a link with TLS this port's bytes are records first
    if is_tls(tvb(0, math.min(3, tvb:len())):raw()) then return 0 end
    return dissect(link, tvb, pinfo, tree)
  end
end

local function heuristic(over_tls)
  return function(tvb, pinfo, tree)
    local link = link_of(tvb(0, math.min(15, tvb:len())):raw())
    if not link then return false end
    -- over TLS the conversation is TLS's and must stay so
    if not over_tls then pinfo.conversation = links[link] end
    dissect(link, tvb, pinfo, tree)
    return true
  end
end

fourparty:register_heuristic("tcp", heuristic(false))
fourparty:register_heuristic("tls", heuristic(true))

local TABLES_OF_PORTS = { DissectorTable.get("tcp.port"), DissectorTable.get("tls.port") }
local registered = {}

local function register()
  for link, proto in pairs(links) do
    local ports = fourparty.prefs[link .. "_ports"]
    for _, ports_of in ipairs(TABLES_OF_PORTS) do
      if registered[link] and registered[link] ~= "" then ports_of:remove(registered[link], proto) end
      if ports ~= "" then ports_of:add(ports, proto) end
    end
    registered[link] = ports
  end
end

fourparty.prefs_changed = register
register()
