import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { api, once } from "../../api/client";
import { useCan } from "../../api/me";
import { useAction, useList } from "../../api/queries";
import { NewButton } from "../../parts/actions";
import { Dialog } from "../../parts/dialog";
import { bytesIn } from "../../parts/edits";
import { Field, Form } from "../../parts/form";
import { ListView } from "../../parts/list-view";
import { Managed } from "../../parts/managed";
import { size } from "../../parts/moments";
import { Empty } from "../../parts/notices";
import { Page } from "../../parts/page";
import { newPassword } from "../../parts/passwords";
import { Secret } from "../../parts/secret";
import { State } from "../../parts/state";
import type { Column } from "../../parts/table";
import { Time } from "../../parts/time";
import { FILTERS } from "./filters";
import { ImportAccounts } from "./import";
import { type Account, STATE_MARKS } from "./states";

const route = getRouteApi("/accounts");

const COLUMNS: readonly Column<Account>[] = [
  {
    id: "address",
    title: "Account",
    sort: "address",
    cell: (account) => (
      <>
        <Link to="/accounts/$address" params={{ address: account.address }}>
          {account.address}
        </Link>{" "}
        <Managed mark={account.managed_by} />
      </>
    ),
  },
  {
    id: "state",
    title: "State",
    cell: (account) => <State kind={STATE_MARKS[account.state]}>{account.state}</State>,
  },
  { id: "messages", title: "Messages", end: true, cell: (account) => account.used_messages },
  {
    id: "used",
    title: "Used",
    sort: "used",
    end: true,
    cell: (account) => size(account.used_bytes),
  },
  {
    id: "quota",
    title: "Quota",
    end: true,
    cell: (account) => (account.quota_bytes === null ? "unlimited" : size(account.quota_bytes)),
  },
  {
    id: "created",
    title: "Created",
    sort: "created",
    cell: (account) => <Time at={account.created_at} />,
  },
];

export function AccountList() {
  const can = useCan();
  const { create, import: isImport, ...filters } = route.useSearch();
  const navigate = useNavigate();
  const list = useList<Account>(["accounts", filters], (cursor) =>
    api.GET("/v1/accounts", {
      params: { query: { ...filters, limit: 100, cursor, total: cursor === null } },
    }),
  );
  const show = (dialog: "create" | "import" | null) =>
    void navigate({
      to: "/accounts",
      search: { ...filters, ...(dialog === null ? {} : { [dialog]: true }) },
    });
  return (
    <Page
      title="Accounts"
      actions={
        <>
          {can("importAccounts") && (
            <button type="button" onClick={() => show("import")}>
              Import…
            </button>
          )}
          {can("createAccount") && <NewButton label="New account" open={() => show("create")} />}
        </>
      }
    >
      <ListView
        filters={FILTERS}
        values={filters}
        go={(search) => void navigate({ to: "/accounts", search })}
        caption="Accounts"
        columns={COLUMNS}
        list={list}
        rowKey={(account) => account.address}
        empty={
          <Empty
            title={filters.domain ? "This domain has no account" : "No account yet"}
            command="posthorn account create carol@example.org"
          >
            <p>An account is a mailbox with an address and a password.</p>
          </Empty>
        }
      />
      {create && can("createAccount") && (
        <NewAccount domain={filters.domain} close={() => show(null)} />
      )}
      {isImport && can("importAccounts") && <ImportAccounts close={() => show(null)} />}
    </Page>
  );
}

function NewAccount({ domain, close }: { domain: string | undefined; close: () => void }) {
  const navigate = useNavigate();
  const [password] = useState(newPassword);
  const passwordIn = (values: FormData) => String(values.get("password") ?? "") || password;
  const [made, setMade] = useState<{ account: Account; password: string } | null>(null);
  const create = useAction(
    ({ values, key }: { values: FormData; key: string }) => {
      const quota = String(values.get("quota_bytes") ?? "").trim();
      return api.POST("/v1/accounts", {
        body: {
          address: String(values.get("address")).trim(),
          password: passwordIn(values),
          quota_bytes: quota === "" ? null : bytesIn(quota),
        },
        headers: once(key),
      });
    },
    {
      changes: ["accounts"],
      said: (account) => `Created ${account.address}`,
      done: (account, { values }) => setMade({ account, password: passwordIn(values) }),
    },
  );
  if (made !== null)
    return (
      <Secret
        title={`${made.account.address} is ready`}
        what="password"
        secret={made.password}
        close={() =>
          void navigate({ to: "/accounts/$address", params: { address: made.account.address } })
        }
      />
    );
  return (
    <Dialog title="New account" close={close}>
      <Form
        action={create}
        read={(values, key) => ({ values, key })}
        label="Create account"
        cancel={close}
      >
        <Field
          name="address"
          label="Address"
          type="email"
          placeholder={`carol@${domain ?? "example.org"}`}
          problem={create.error}
          autoComplete="off"
          required
        />
        <Field
          name="password"
          label="Password"
          type="password"
          hint="Empty: a long one is made. It is shown once, on the next page."
          problem={create.error}
          autoComplete="new-password"
        />
        <Field
          name="quota_bytes"
          label="Quota"
          hint="Such as 5 GiB; empty: unlimited."
          problem={create.error}
          autoComplete="off"
        />
      </Form>
    </Dialog>
  );
}
