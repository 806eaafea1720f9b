import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { api, only, type Tagged, tagged } from "../../api/client";
import { useCan } from "../../api/me";
import { useAction, useList, useOne } from "../../api/queries";
import { ActionButton, Removal } from "../../parts/actions";
import { CopyAs } from "../../parts/copy-as";
import { Dialog } from "../../parts/dialog";
import { Edit } from "../../parts/edit";
import { Field, Form } from "../../parts/form";
import { Managed, type Mark, restored, setBack } from "../../parts/managed";
import { count, size } from "../../parts/moments";
import { Failure, Loading } from "../../parts/notices";
import { Facts, Page, Section } from "../../parts/page";
import { newPassword } from "../../parts/passwords";
import { Secret } from "../../parts/secret";
import { State } from "../../parts/state";
import { Time } from "../../parts/time";
import { Deleted } from "./deleted";
import { Filter } from "./filter";
import { Mailboxes } from "./mailboxes";
import { Passwords } from "./passwords";
import { Reads } from "./reads";
import { type Account, LIMITS, STATE_MARKS } from "./states";

const route = getRouteApi("/accounts/$address");

export function AccountPage() {
  const { address } = route.useParams();
  const { tab } = route.useSearch();
  const can = useCan();
  const ask = () => tagged(api.GET("/v1/accounts/{address}", { params: { path: { address } } }));
  const account = useOne(["accounts", address], ask);
  if (account.data === undefined)
    return (
      <Page title={address}>
        {account.isPending ? <Loading /> : <Failure problem={account.error} />}
      </Page>
    );
  const { value } = account.data;
  return (
    <Page
      title={value.address}
      actions={
        <>
          <Managed mark={value.managed_by} />
          <CopyAs
            calls={() => [api.GET("/v1/accounts/{address}", { params: { path: { address } } })]}
          />
          {can("changeAccount") && <Actions account={value} />}
          {can("deleteAccount") && <Delete account={value} />}
        </>
      }
    >
      <Tabs address={address} />
      {tab === undefined && <Overview read={account.data} ask={ask} />}
      {tab === "mailboxes" && <Mailboxes address={address} />}
      {tab === "passwords" && <Passwords address={address} />}
      {tab === "filter" && <Filter address={address} mark={value.managed_by} />}
      {tab === "deleted" && <Deleted address={address} />}
      {tab === "reads" && <Reads address={address} />}
    </Page>
  );
}

function Tabs({ address }: { address: string }) {
  const can = useCan();
  const to = { to: "/accounts/$address", params: { address } } as const;
  return (
    <nav className="tab-links" aria-label="Parts of the account">
      <Link {...to} activeOptions={{ exact: true, includeSearch: true }}>
        Overview
      </Link>
      {can("listMailboxes") && (
        <Link {...to} search={{ tab: "mailboxes" }}>
          Mailboxes
        </Link>
      )}
      {can("listAppPasswords") && (
        <Link {...to} search={{ tab: "passwords" }}>
          Sign-in and set-up
        </Link>
      )}
      {can("getEffectiveAccountFilterPolicy") && (
        <Link {...to} search={{ tab: "filter" }}>
          Filter
        </Link>
      )}
      {can("listDeletedMessages") && (
        <Link {...to} search={{ tab: "deleted" }}>
          Deleted mail
        </Link>
      )}
      {can("listContentAccess") && (
        <Link {...to} search={{ tab: "reads" }}>
          Who read
        </Link>
      )}
    </nav>
  );
}

function Overview(properties: { read: Tagged<Account>; ask: () => Promise<Tagged<Account>> }) {
  const { read, ask } = properties;
  const can = useCan();
  const account = read.value;
  const path = { address: account.address };
  return (
    <>
      <Facts
        facts={[
          [
            "State",
            <State key="state" kind={STATE_MARKS[account.state]}>
              {account.state}
            </State>,
          ],
          ["Used", <Use key="used" account={account} />],
          ["Messages", count(account.used_messages)],
          ["Created", <Time key="created" at={account.created_at} />],
          ["Changed", <Time key="changed" at={account.updated_at} />],
        ]}
      />
      {can("listAliases") && <Aliases address={account.address} />}
      {can("changeAccount") && (
        <Section title="Limits">
          <Edit
            fields={LIMITS}
            managed={account.managed_by}
            read={read}
            ask={ask}
            save={(change, tag) =>
              api.PATCH("/v1/accounts/{address}", {
                params: { path, header: only(tag) },
                body: change,
              })
            }
            changes={["accounts"]}
            said={`Changed ${account.address}`}
          />
        </Section>
      )}
    </>
  );
}

function Use({ account }: { account: Account }) {
  if (account.quota_bytes === null) return `${size(account.used_bytes)}; no quota`;
  return (
    <>
      {size(account.used_bytes)} of {size(account.quota_bytes)}{" "}
      <meter
        className="meter"
        aria-label="Use of the quota"
        value={account.used_bytes}
        max={Math.max(1, account.quota_bytes)}
        high={account.quota_bytes * 0.9}
      />
    </>
  );
}

function Aliases({ address }: { address: string }) {
  const list = useList(["aliases", "to", address], (cursor) =>
    api.GET("/v1/aliases", { params: { query: { target: address, limit: 100, cursor } } }),
  );
  const leading = list.items;
  return (
    <Section title="Aliases that lead here">
      <Failure problem={list.query.error} />
      {leading.length > 0 && (
        <ul>
          {leading.map((alias) => (
            <li key={alias.address}>
              <Link to="/aliases/$address" params={{ address: alias.address }}>
                {alias.address}
              </Link>
            </li>
          ))}
        </ul>
      )}
      {leading.length === 0 && !list.query.isPending && <p className="weak">None</p>}
      {list.query.hasNextPage && (
        <button
          type="button"
          disabled={list.query.isFetchingNextPage}
          onClick={() => void list.query.fetchNextPage()}
        >
          Show more than {count(leading.length)}
        </button>
      )}
    </Section>
  );
}

function Actions({ account }: { account: Account }) {
  const state = account.state === "active" ? "suspended" : "active";
  const path = { address: account.address };
  return (
    <>
      <ActionButton
        label={state === "active" ? "Activate" : "Suspend"}
        call={() => api.PATCH("/v1/accounts/{address}", { params: { path }, body: { state } })}
        changes={["accounts"]}
        said={(changed) =>
          `${changed.address} is ${changed.state}${setBack(changed.managed_by, "state")}`
        }
        undo={() =>
          api.PATCH("/v1/accounts/{address}", { params: { path }, body: { state: account.state } })
        }
      />
      <SetPassword address={account.address} mark={account.managed_by} />
    </>
  );
}

function SetPassword({ address, mark }: { address: string; mark: Mark }) {
  const [isAsked, setIsAsked] = useState(false);
  const [secret, setSecret] = useState<string | null>(null);
  const [made] = useState(newPassword);
  const set = useAction(
    (password: string) =>
      api.PATCH("/v1/accounts/{address}", { params: { path: { address } }, body: { password } }),
    {
      changes: ["accounts"],
      said: () => `Changed the password of ${address}${setBack(mark, "password_hash")}`,
      done: (_, password) => {
        setIsAsked(false);
        setSecret(password);
      },
    },
  );
  return (
    <>
      <button type="button" onClick={() => setIsAsked(true)}>
        Set password…
      </button>
      {isAsked && (
        <Dialog title="Set password" close={() => setIsAsked(false)}>
          <Form
            action={set}
            read={(values) => String(values.get("password") ?? "") || made}
            label="Set password"
            cancel={() => setIsAsked(false)}
          >
            <Field
              name="password"
              label="New password"
              type="password"
              hint="Empty: a long one is made. The old one stops working at once; app passwords stay."
              problem={set.error}
              autoComplete="new-password"
            />
          </Form>
        </Dialog>
      )}
      {secret !== null && (
        <Secret
          title="The new password"
          what="password"
          secret={secret}
          close={() => setSecret(null)}
        />
      )}
    </>
  );
}

function Delete({ account }: { account: Account }) {
  const navigate = useNavigate();
  const { address } = account;
  return (
    <Removal
      title="Delete account"
      text={`All its mail is deleted with it: ${count(account.used_messages)} messages, ${size(account.used_bytes)}.${restored(account.managed_by, ", without its mail")}`}
      typed={address}
      call={() => api.DELETE("/v1/accounts/{address}", { params: { path: { address } } })}
      changes={["accounts"]}
      said={`Deleted ${address}`}
      done={() => void navigate({ to: "/accounts" })}
    />
  );
}
