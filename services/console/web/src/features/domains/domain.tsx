import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { api, tagged } from "../../api/client";
import { useCan } from "../../api/me";
import { useOne } from "../../api/queries";
import { ActionButton, Removal } from "../../parts/actions";
import { CopyAs } from "../../parts/copy-as";
import { Managed, type Mark, restored } from "../../parts/managed";
import { Failure, Loading } from "../../parts/notices";
import { Page } from "../../parts/page";
import { SendTest } from "../../parts/send-test";
import { DkimKeys } from "./dkim";
import { DnsRecords } from "./dns";
import { Filter } from "./filter";
import { Reports } from "./reports";
import { Settings } from "./settings";
import { Steps } from "./steps";

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
  return (
    <Page
      title={value.display_name}
      actions={
        <>
          <Managed mark={value.managed_by} />
          <CopyAs calls={() => [api.GET("/v1/domains/{name}", { params: { path: { name } } })]} />
          {can("listAccounts") && (
            <Link className="button" to="/accounts" search={{ domain: name }}>
              Accounts
            </Link>
          )}
          <SendTest domain={name} />
          {can("verifyDomain") && value.verified_at === null && <Verify name={name} />}
          {can("deleteDomain") && <Delete name={name} mark={value.managed_by} />}
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
        {can("getEffectiveDomainFilterPolicy") && (
          <Link to="/domains/$name" params={{ name }} search={{ tab: "filter" }}>
            Filter
          </Link>
        )}
        {can("listDmarcReports") && (
          <Link to="/domains/$name" params={{ name }} search={{ tab: "reports" }}>
            Reports
          </Link>
        )}
      </nav>
      {tab === undefined && (
        <>
          <Steps domain={value} />
          <DnsRecords domain={value} />
        </>
      )}
      {tab === "settings" && <Settings read={domain.data} ask={ask} />}
      {tab === "dkim" && <DkimKeys name={name} />}
      {tab === "filter" && <Filter name={name} mark={value.managed_by} />}
      {tab === "reports" && <Reports name={name} />}
    </Page>
  );
}

function Verify({ name }: { name: string }) {
  return (
    <ActionButton
      label="Verify ownership"
      call={() => api.POST("/v1/domains/{name}/verify", { params: { path: { name } } })}
      changes={["domains"]}
      said={() => `${name} is verified`}
    />
  );
}

function Delete({ name, mark }: { name: string; mark: Mark }) {
  const navigate = useNavigate();
  return (
    <Removal
      title="Delete domain"
      text={`Mail for ${name} will no longer be accepted. Its accounts and aliases must be deleted before.${restored(mark)}`}
      typed={name}
      call={() => api.DELETE("/v1/domains/{name}", { params: { path: { name } } })}
      changes={["domains"]}
      said={`Deleted ${name}`}
      done={() => void navigate({ to: "/domains" })}
    />
  );
}
