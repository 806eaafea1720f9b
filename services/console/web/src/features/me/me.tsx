import { getRouteApi, Link } from "@tanstack/react-router";
import { useState } from "react";
import { answer, api, once, type Schemas } from "../../api/client";
import { useMe } from "../../api/me";
import { useAction, useList, useOne } from "../../api/queries";
import { type AppPassword, AppPasswords } from "../../parts/account/app-passwords";
import { DeletedMail, type DeletedMessage } from "../../parts/account/deleted";
import { type PhoneMaker, SetUp } from "../../parts/account/phone";
import { type Read, ReadsTable } from "../../parts/account/reads";
import { type SignIn, SignIns } from "../../parts/account/sign-ins";
import { CopyAs } from "../../parts/copy-as";
import { Field, Form } from "../../parts/form";
import { Failure } from "../../parts/notices";
import { Page, Section } from "../../parts/page";
import { Forwards } from "./forwards";
import { OwnMail } from "./mail";
import { Withheld } from "./quarantine";
import { TABS } from "./tabs";
import { Vacation } from "./vacation";

const route = getRouteApi("/me");
const TITLES: Readonly<Record<(typeof TABS)[number], string>> = {
  mail: "Mailboxes and export",
  history: "Sign-ins and reads",
  vacation: "Automatic reply",
  forwards: "Forwards",
  quarantine: "Withheld mail",
  deleted: "Deleted mail",
};

/** What the holder of an account manages. */
export function MyAccount() {
  const { tab } = route.useSearch();
  const me = useMe().data;
  return (
    <Page title="My account" actions={<CopyAs calls={() => [api.GET("/v1/me")]} />}>
      <nav className="tab-links" aria-label="Parts of my account">
        <Link to="/me" activeOptions={{ exact: true, includeSearch: true }}>
          Passwords and set-up
        </Link>
        {TABS.map((each) => (
          <Link key={each} to="/me" search={{ tab: each }}>
            {TITLES[each]}
          </Link>
        ))}
      </nav>
      {tab === undefined && <Passwords address={me?.account?.address ?? ""} />}
      {tab === "mail" && <OwnMail />}
      {tab === "history" && <History />}
      {tab === "vacation" && <Vacation />}
      {tab === "forwards" && <Forwards />}
      {tab === "quarantine" && <Withheld />}
      {tab === "deleted" && <Deleted />}
    </Page>
  );
}

function Passwords({ address }: { address: string }) {
  const list = useList<AppPassword>(["app-passwords"], (cursor) =>
    api.GET("/v1/me/app-passwords", {
      params: { query: { limit: 100, cursor } },
    }),
  );
  const clients = useOne(["client-settings"], () =>
    answer(api.GET("/v1/me/client-settings", { params: { query: { format: "json" } } })),
  );
  const maker: PhoneMaker<Schemas["SetUpCodeView"]> = {
    call: ({ name, displayName, key }) =>
      api.POST("/v1/me/client-settings", {
        body: { name, display_name: displayName },
        headers: once(key),
      }),
    code: (made) => made.payload,
  };
  return (
    <>
      <ChangePassword />
      <AppPasswords
        list={list}
        command="posthorn me create-app-password phone"
        create={(body, headers) => api.POST("/v1/me/app-passwords", { body, headers })}
        remove={(id) => api.DELETE("/v1/me/app-passwords/{id}", { params: { path: { id } } })}
      />
      <Failure problem={clients.error} />
      {clients.data && (
        <SetUp address={address} servers={clients.data.servers} maker={maker}>
          <p>
            <a href="/v1/me/client-settings?format=apple" download>
              Profile for iPhone, iPad and Mac
            </a>
          </p>
        </SetUp>
      )}
    </>
  );
}

function ChangePassword() {
  const [times, setTimes] = useState(0);
  const change = useAction(
    (values: FormData) =>
      api.PUT("/v1/me/password", {
        body: {
          current_password: String(values.get("current_password")),
          password: String(values.get("password")),
        },
      }),
    {
      changes: ["me"],
      said: () => "Your password is changed",
      done: () => setTimes(times + 1),
    },
  );
  return (
    <Section title="Password">
      <Form key={times} action={change} read={(values) => values} label="Change password">
        <Field
          name="current_password"
          label="Current password"
          type="password"
          problem={change.error}
          autoComplete="current-password"
          required
        />
        <Field
          name="password"
          label="New password"
          type="password"
          hint="You are signed out everywhere else. App passwords keep working."
          problem={change.error}
          autoComplete="new-password"
          required
        />
      </Form>
    </Section>
  );
}

function History() {
  const signIns = useList<SignIn>(["sign-ins"], (cursor) =>
    api.GET("/v1/me/sign-ins", { params: { query: { limit: 50, cursor } } }),
  );
  const reads = useList<Read>(["me-reads"], (cursor) =>
    api.GET("/v1/me/reads", { params: { query: { limit: 50, cursor } } }),
  );
  return (
    <>
      <SignIns list={signIns} command="posthorn me sign-ins" />
      <Section title="Who read my mail">
        <ReadsTable list={reads} command="posthorn me reads" />
      </Section>
    </>
  );
}

function Deleted() {
  const list = useList<DeletedMessage>(["me-deleted"], (cursor) =>
    api.GET("/v1/me/deleted", { params: { query: { limit: 100, cursor } } }),
  );
  const undelete = (id: string) =>
    api.POST("/v1/me/deleted/{id}/undelete", { params: { path: { id } } });
  return <DeletedMail list={list} command="posthorn me deleted" undelete={undelete} />;
}
