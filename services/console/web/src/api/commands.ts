/** The command of `posthorn` that sends the same request, for each operation that the console uses.
 *
 * `{name}` is a value of the request, quoted for a shell; `{name...}` a list, a word each. What has
 * no value is left out: `--option={name}` (a list has commas), `--option*={name}` (once for each of
 * a list), `--flag?{name}` (given if it is true), `--[no-]flag={name}`. Null is the word none where
 * an object is changed. A secret is no part of a command: it asks for it. */
import type { Call, Method, Values } from "./call";
import { quoted } from "./quoted";

type Template = string | ((values: Values) => string);

const LIMITS = "--max-messages-per-hour={max_messages_per_hour}";
const HOURLY = `${LIMITS} --max-recipients-per-hour={max_recipients_per_hour}`;
const LIST = "--match={q} --state={state} --tenant={tenant} --sort={sort} --total?{total}";
const TENANT = `--max-domains={max_domains} --max-accounts={max_accounts} --quota={quota_bytes} ${HOURLY} --[no-]verify-domains={verify_domains} --min-password-length={min_password_length}`;
const QUEUED =
  "--domain={domain} --state={state} --sender={sender} --recipient={recipient} --message={message} --tenant={tenant}";
const HOP =
  "--host={host} --port={port} --tls={tls} --username={username} --connections={connections} --messages-per-minute={messages_per_minute}";
const BOUNDS = "--expires={expires_at} --networks={networks}";

/** Sets the fields of a filter policy that are no lists; null is left to the level above. */
const filter = (whose: string) => (values: Values) =>
  [
    `filter set ${whose}`,
    ...POLICY.filter((name) => values[name] !== undefined).map((name) => {
      const value = values[name];
      const said = value === true ? "on" : value === false ? "off" : String(value ?? "none");
      return `--${name.replaceAll("_", "-")} ${said}`;
    }),
  ].join(" ");
const POLICY = [
  "junk_score",
  "refuse_score",
  "spam_action",
  "virus_action",
  "enforce_dmarc",
  "refuse_listed",
  "greylist",
  "protect_known",
  "rspamd",
  "clamav",
  "digest",
];

export const COMMANDS = {
  "DELETE /v1/accounts/{address}": "account delete {address}",
  "DELETE /v1/accounts/{address}/app-passwords/{id}": "app-password delete {address} {id}",
  "DELETE /v1/aliases/{address}": "alias delete {address}",
  "DELETE /v1/api-keys/{id}": "key delete {id}",
  "DELETE /v1/config/managers/{manager}": "manager release {manager} --tenant={tenant}",
  "DELETE /v1/dead/{sequence}": "dead-letter delete {sequence}",
  "DELETE /v1/domains/{name}": "domain delete {name}",
  "DELETE /v1/me/app-passwords/{id}": "me delete-app-password {id}",
  "DELETE /v1/me/forwards": "me delete-forwards",
  "DELETE /v1/quarantine/{id}": "quarantine delete {id}",
  "DELETE /v1/routes/{domain}": "route delete {domain}",
  "DELETE /v1/suppressions/{address}": "suppression delete {address}",
  "DELETE /v1/tenants/{tenant}": "tenant delete {tenant}",
  "DELETE /v1/webhooks/{id}": "webhook delete {id}",
  "GET /v1/accounts": `account list --domain={domain} ${LIST}`,
  "GET /v1/accounts/{address}": "account show {address}",
  "GET /v1/accounts/{address}/app-passwords": "app-password list {address}",
  "GET /v1/accounts/{address}/content-access": "audit content {address}",
  "GET /v1/accounts/{address}/deleted": "message deleted {address}",
  "GET /v1/accounts/{address}/filter-policy": "filter show --account {address}",
  "GET /v1/accounts/{address}/filter-policy/effective": "filter effective --account {address}",
  "GET /v1/accounts/{address}/mailboxes": "mailbox list {address}",
  "GET /v1/accounts/{address}/sign-ins": "account sign-ins {address}",
  "GET /v1/aliases": `alias list --domain={domain} --target={target} ${LIST}`,
  "GET /v1/aliases/{address}": "alias show {address}",
  "GET /v1/api-keys": `key list ${LIST}`,
  "GET /v1/audit":
    "audit list --match={q} --tenant={tenant} --sort={sort} --total?{total} --actor={actor} --action={action} --object={object} --since={since} --until={until}",
  "GET /v1/config": "export config --tenant={tenant}",
  "GET /v1/config/managers": "manager list --tenant={tenant}",
  "GET /v1/dead": "dead-letter list",
  "GET /v1/defence": "defence",
  "GET /v1/defence/listings": "listings",
  "GET /v1/domains": `domain list --dns={dns} ${LIST}`,
  "GET /v1/domains/{name}": "domain show {name}",
  "GET /v1/domains/{name}/dkim": "dkim list {name}",
  "GET /v1/domains/{name}/dns": "domain dns {name}",
  "GET /v1/domains/{name}/dns/check": "domain dns-check {name}",
  "GET /v1/domains/{name}/filter-policy": "filter show --domain {name}",
  "GET /v1/domains/{name}/filter-policy/effective": "filter effective --domain {name}",
  "GET /v1/domains/{name}/reports/dmarc": "report dmarc {name}",
  "GET /v1/domains/{name}/reports/tls": "report tls {name}",
  "GET /v1/me": "me show",
  "GET /v1/me/app-passwords": "me app-passwords",
  "GET /v1/me/client-settings": "me client-settings",
  "GET /v1/me/deleted": "me deleted",
  "GET /v1/me/forwards": "me forwards",
  "GET /v1/me/mailboxes": "me mailboxes",
  "GET /v1/me/quarantine": "me quarantine",
  "GET /v1/me/reads": "me reads",
  "GET /v1/me/sign-ins": "me sign-ins",
  "GET /v1/me/vacation": "me vacation",
  "GET /v1/messages":
    "messages find {q} --outcome={outcome} --direction={direction} --since={after}",
  "GET /v1/messages/{id}/trace": "trace {id}",
  "GET /v1/quarantine":
    "quarantine list --account={account} --domain={domain} --reason={reason} --message={message} --match={q} --tenant={tenant} --sort={sort} --total?{total}",
  "GET /v1/quarantine/{id}": "quarantine show {id}",
  "GET /v1/quarantine/{id}/raw": "quarantine raw {id}",
  "GET /v1/queue": `queue list ${QUEUED} --match={q} --sort={sort} --total?{total}`,
  "GET /v1/queue/summary":
    "queue summary --match={q} --domain={domain} --state={state} --tenant={tenant}",
  "GET /v1/routes": `route list ${LIST}`,
  "GET /v1/stats/series":
    "stats series --since={since} --until={until} --by={by} --by-domain?{by_domain}",
  "GET /v1/suppressions":
    "suppression list {q} --domain={domain} --tenant={tenant} --sort={sort} --total?{total}",
  "GET /v1/system": "system",
  "GET /v1/tenants": `tenant list ${LIST}`,
  "GET /v1/tenants/{tenant}": "tenant show {tenant}",
  "GET /v1/webhooks": `webhook list ${LIST}`,
  "GET /v1/webhooks/{id}": "webhook show {id}",
  "GET /v1/webhooks/{id}/deliveries": "webhook deliveries {id} --state={state}",
  "PATCH /v1/accounts/{address}": (values) =>
    "password" in values
      ? "account password {address}"
      : `account set {address} --state={state} --quota={quota_bytes} ${HOURLY} --allowed-networks={allowed_networks} --[no-]save-sent={save_sent}`,
  "PATCH /v1/aliases/{address}": "alias set {address} {targets...}",
  "PATCH /v1/domains/{name}": `domain set {name} --catch-all={catch_all} --[no-]plus-addressing={plus_addressing} --max-accounts={max_accounts} --quota={quota_bytes} ${HOURLY} --allowed-networks={allowed_networks} --retention-days={retention_days} --undelete-days={undelete_days} --account-forwards={account_forwards}`,
  "PATCH /v1/tenants/{tenant}": `tenant set {tenant} --name={name} --state={state} ${TENANT}`,
  "PATCH /v1/webhooks/{id}":
    "webhook set {id} --url={url} --event*={events} --domain={domain} --state={state}",
  "POST /v1/accounts": "account create {address} --quota={quota_bytes}",
  "POST /v1/accounts/{address}/app-passwords": `app-password create {address} {name} --scope*={scopes} ${BOUNDS}`,
  "POST /v1/accounts/{address}/messages/{id}/undelete": "message undelete {address} {id}",
  "POST /v1/aliases": "alias create {address} {targets...}",
  "POST /v1/api-keys": `key create {name} --role={role} --tenant={tenant} --[no-]message-content={message_content} ${BOUNDS}`,
  "POST /v1/dead/{sequence}/retry": "dead-letter retry {sequence}",
  "POST /v1/domains":
    "domain create {name} --tenant={tenant} --catch-all={catch_all} --[no-]plus-addressing={plus_addressing} --[no-]dkim={dkim}",
  "POST /v1/domains/dns/check": "domain dns-check-all --tenant={tenant}",
  "POST /v1/domains/{name}/dkim/rotate":
    "dkim rotate {name} --selector={selector} --delay={delay_seconds} --overlap={overlap_seconds}",
  "POST /v1/domains/{name}/verify": "domain verify {name}",
  "POST /v1/import/accounts": "import accounts lines.ndjson",
  "POST /v1/import/accounts/plan": "import accounts lines.ndjson --plan",
  "POST /v1/login/sessions/end": "key end-sessions {subject}",
  "POST /v1/me/app-passwords": `me create-app-password {name} --scope*={scopes} ${BOUNDS}`,
  "POST /v1/me/client-settings": "me qr-code --name={name} --display-name={display_name}",
  "POST /v1/me/deleted/{id}/undelete": "me undelete {id}",
  "POST /v1/me/quarantine/{id}/release": "me release {id}",
  "POST /v1/quarantine/release": "quarantine release {ids...} --ham?{classify}",
  "POST /v1/queue/cancel": `queue cancel {ids...} ${QUEUED}`,
  "POST /v1/queue/hold": `queue hold {ids...} ${QUEUED}`,
  "POST /v1/queue/release": `queue release {ids...} ${QUEUED}`,
  "POST /v1/queue/retry": `queue retry {ids...} ${QUEUED}`,
  "POST /v1/routes": `route set {domain} ${HOP}`,
  "POST /v1/routes/{domain}/probe": "route probe {domain} --recipient={recipient}",
  "POST /v1/send": "send-test --from={from} --to={to} --subject={subject} --text={text}",
  "POST /v1/suppressions": "suppression create {address} --reason={reason}",
  "POST /v1/tenants": `tenant create {name} ${TENANT}`,
  "POST /v1/webhooks": "webhook create {url} --event*={events} --domain={domain}",
  "POST /v1/webhooks/{id}/deliveries/replay": "webhook replay-failed {id}",
  "POST /v1/webhooks/{id}/deliveries/{delivery}/replay": "webhook replay {id} {delivery}",
  "POST /v1/webhooks/{id}/rotate": "webhook rotate {id}",
  "POST /v1/webhooks/{id}/test": "webhook test {id}",
  "PUT /v1/accounts/{address}/filter-policy": filter("--account {address}"),
  "PUT /v1/domains/{name}/filter-policy": filter("--domain {name}"),
  "PUT /v1/config":
    "apply --file configuration.json --plan?{plan} --prune?{prune} --manager={manager} --take-over?{take_over} --tenant={tenant}",
  "PUT /v1/me/forwards": (values) =>
    `me set-forwards {targets...}${values.keep_copy ? "" : " --no-copy"}`,
  "PUT /v1/me/password": "me password",
  "PUT /v1/me/vacation": (values) =>
    values.enabled
      ? "me set-vacation --subject={subject} --text-file text.txt --since={starts_at} --until={ends_at}"
      : "me set-vacation --off",
  "PUT /v1/routes/{domain}": (values) =>
    `route set {domain} ${HOP}${values.username && !("password" in values) ? " --keep-password" : ""}`,
} as const satisfies Record<string, Template>;

export type Operation = keyof typeof COMMANDS;
/** The paths of a method that have a command. */
export type Described<M extends Method> = Operation extends infer O
  ? O extends `${M} ${infer Path}`
    ? Path
    : never
  : never;

/** Return the command that sends the same request. */
export function commandOf(call: Call<unknown>): string {
  const body = typeof call.body === "object" && call.body !== null ? call.body : {};
  const values: Values = { ...body, ...call.query, ...call.path };
  const template = COMMANDS[`${call.method} ${call.template}` as Operation] as Template;
  const words = (typeof template === "string" ? template : template(values)).split(" ");
  const isChange = call.method === "PATCH";
  return ["posthorn", ...words.flatMap((word) => filled(word, values, isChange))].join(" ");
}

const WORD = /^(?:(--)(\[no-\])?([a-z-]+)([?*]?)=?)?\{([a-z_]+)(\.\.\.)?\}$/;

function filled(word: string, values: Values, isChange: boolean): string[] {
  const found = WORD.exec(word);
  if (found === null) return [word];
  const [, dashes, canBeNo, option, kind, name = "", isSpread] = found;
  let value = values[name];
  if (value === undefined || value === "") return [];
  if (value === null && !isChange) return [];
  value ??= "none";
  const list = (Array.isArray(value) ? value : [value]).map((each) => String(each).trimEnd());
  if (dashes === undefined) return isSpread ? list.map(quoted) : [quoted(list.join(" "))];
  if (kind === "?") return value ? [`--${option}`] : [];
  if (canBeNo) return [value ? `--${option}` : `--no-${option}`];
  if (kind === "*") return list.map((each) => `--${option} ${quoted(each)}`);
  return list.length === 0 ? [] : [`--${option} ${quoted(list.join(","))}`];
}
