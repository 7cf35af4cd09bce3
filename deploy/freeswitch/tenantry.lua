-- scripts/tenantry.lua: routes a call that Tenantry has allowed and parked, and gives
-- back what it held when it is over.
local admission = "http://127.0.0.1:8077/admission/v1"
local header = "/etc/freeswitch/tenantry.header" -- Authorization: Bearer ...

local uuid = event:getHeader("Unique-ID")
if not event:getHeader("variable_tenantry_account_id") or not uuid:match("^[%x-]+$") then
  return
end
local api = freeswitch.API()
if event:getHeader("Event-Name") == "CHANNEL_PARK" then
  local number = event:getHeader("Caller-Destination-Number"):gsub("[^%d+]", "")
  api:execute("uuid_transfer", uuid .. " 'set:hangup_after_bridge=true,bridge:sofia/gateway/carrier/" .. number .. "' inline")
else
  api:execute("bg_system", "curl -fsS -m 10 --retry 3 -H @" .. header .. " -X POST " .. admission .. "/leases/" .. uuid .. "/release")
end
