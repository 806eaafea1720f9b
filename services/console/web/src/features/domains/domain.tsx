import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { answer, api, type Schemas } from "../../api/client";
import { useCan } from "../../api/me";
import { useAction, useOne } from "../../api/queries";
import { Confirm } from "../../parts/confirm";
import { CopyAs } from "../../parts/copy-as";
import { Failure, Loading } from "../../parts/notices";
import { Facts, Page } from "../../parts/page";
import { State } from "../../parts/state";
import { Time } from "../../parts/time";
import { DnsRecords } from "./dns";

const route = getRouteApi("/domains/$name");

export function DomainPage() {
  const { name } = route.useParams();
  const { tab } = route.useSearch();
  const can = useCan();
  const domain = useOne(["domains", name], () =>
    answer(api.GET("/v1/domains/{name}", { params: { path: { name } } })),
  );
  if (domain.data === undefined)
    return (
      <Page title={name}>
        {domain.isPending ? <Loading /> : <Failure problem={domain.error} />}
      </Page>
    );
  const path = `/v1/domains/${encodeURIComponent(name)}`;
  return (
    <Page
      title={domain.data.display_name}
      actions={
        <>
          <CopyAs command={`posthorn domain show ${name}`} request={{ method: "GET", path }} />
          {can("verifyDomain") && domain.data.verified_at === null && <Verify name={name} />}
          {can("deleteDomain") && <Delete name={name} />}
        </>
      }
    >
      <nav className="tab-links" aria-label="Parts of the domain">
        <Link
          to="/domains/$name"
          params={{ name }}
          activeOptions={{ exact: true, includeSearch: true }}
        >
          DNS
        </Link>
        <Link to="/domains/$name" params={{ name }} search={{ tab: "settings" }}>
          Settings
        </Link>
      </nav>
      {tab === "settings" ? <Settings domain={domain.data} /> : <DnsRecords name={name} />}
    </Page>
  );
}

function Settings({ domain }: { domain: Schemas["DomainView"] }) {
  const none = <span className="weak">none</span>;
  return (
    <Facts
      facts={[
        [
          "Ownership",
          domain.verified_at ? (
            <>
              <State kind="good">verified</State> <Time at={domain.verified_at} />
            </>
          ) : (
            <State kind="warn">not verified</State>
          ),
        ],
        ["Tenant", domain.tenant],
        ["Catch-all", domain.catch_all ?? none],
        ["Plus addressing", domain.plus_addressing ? "on" : "off"],
        ["Postmaster", domain.postmaster ?? none],
        ["Accounts at most", domain.max_accounts ?? none],
        ["Messages an hour", domain.max_messages_per_hour ?? none],
        ["Mail is kept", domain.retention_days ? `${domain.retention_days} days` : "for ever"],
        ["Deleted mail can be restored for", `${domain.undelete_days} days`],
        ["Created", <Time key="created" at={domain.created_at} />],
      ]}
    />
  );
}

function Verify({ name }: { name: string }) {
  const verify = useAction(
    () => answer(api.POST("/v1/domains/{name}/verify", { params: { path: { name } } })),
    { changes: ["domains"], said: () => `${name} is verified` },
  );
  return (
    <>
      <button type="button" disabled={verify.isPending} onClick={() => verify.mutate()}>
        Verify ownership
      </button>
      <Failure problem={verify.error} />
    </>
  );
}

function Delete({ name }: { name: string }) {
  const [isAsked, setIsAsked] = useState(false);
  const navigate = useNavigate();
  const remove = useAction(
    () => answer(api.DELETE("/v1/domains/{name}", { params: { path: { name } } })),
    {
      changes: ["domains"],
      said: () => `Deleted ${name}`,
      done: () => void navigate({ to: "/domains" }),
    },
  );
  return (
    <>
      <button type="button" onClick={() => setIsAsked(true)}>
        Delete…
      </button>
      {isAsked && (
        <Confirm
          title="Delete the domain"
          text={`Mail for ${name} will no longer be accepted. Its accounts and aliases must be deleted before.`}
          action="Delete domain"
          typed={name}
          problem={remove.error}
          isRunning={remove.isPending}
          confirm={() => remove.mutate()}
          close={() => setIsAsked(false)}
        />
      )}
    </>
  );
}
