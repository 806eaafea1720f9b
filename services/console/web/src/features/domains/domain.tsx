import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { answer, api, tagged } from "../../api/client";
import { useCan } from "../../api/me";
import { useAction, useOne } from "../../api/queries";
import { Confirm } from "../../parts/confirm";
import { CopyAs } from "../../parts/copy-as";
import { Failure, Loading } from "../../parts/notices";
import { Page } from "../../parts/page";
import { SendTest } from "../../parts/send-test";
import { DkimKeys } from "./dkim";
import { DnsRecords } from "./dns";
import { Reports } from "./reports";
import { Settings } from "./settings";

const route = getRouteApi("/domains/$name");

export function DomainPage() {
  const { name } = route.useParams();
  const { tab } = route.useSearch();
  const can = useCan();
  const ask = () => tagged(api.GET("/v1/domains/{name}", { params: { path: { name } } }));
  const domain = useOne(["domains", name], ask);
  if (domain.data === undefined)
    return (
      <Page title={name}>
        {domain.isPending ? <Loading /> : <Failure problem={domain.error} />}
      </Page>
    );
  const { value } = domain.data;
  const path = `/v1/domains/${encodeURIComponent(name)}`;
  return (
    <Page
      title={value.display_name}
      actions={
        <>
          <CopyAs command={`posthorn domain show ${name}`} request={{ method: "GET", path }} />
          <SendTest domain={name} />
          {can("verifyDomain") && value.verified_at === null && <Verify name={name} />}
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
        {can("listDkimKeys") && (
          <Link to="/domains/$name" params={{ name }} search={{ tab: "dkim" }}>
            DKIM keys
          </Link>
        )}
        {can("listDmarcReports") && (
          <Link to="/domains/$name" params={{ name }} search={{ tab: "reports" }}>
            Reports
          </Link>
        )}
      </nav>
      {tab === undefined && <DnsRecords name={name} />}
      {tab === "settings" && <Settings read={domain.data} ask={ask} />}
      {tab === "dkim" && <DkimKeys name={name} />}
      {tab === "reports" && <Reports name={name} />}
      <p>
        <Link to="/accounts" search={{ domain: name }}>
          Accounts of this domain
        </Link>
      </p>
    </Page>
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
