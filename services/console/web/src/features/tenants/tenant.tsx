import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { api, only, tagged } from "../../api/client";
import { useCan } from "../../api/me";
import { useOne } from "../../api/queries";
import { Removal } from "../../parts/actions";
import { CopyAs } from "../../parts/copy-as";
import { Edit } from "../../parts/edit";
import { size } from "../../parts/moments";
import { Failure, Loading } from "../../parts/notices";
import { Facts, Page, Section } from "../../parts/page";
import { State } from "../../parts/state";
import { Time } from "../../parts/time";
import { Against, LIMITS, STATE } from "./fields";

const route = getRouteApi("/tenants/$tenant");

/** A tenant's limits against what it uses. */
export function TenantPage() {
  const { tenant: name } = route.useParams();
  const can = useCan();
  const navigate = useNavigate();
  const path = { tenant: name };
  const ask = () => tagged(api.GET("/v1/tenants/{tenant}", { params: { path } }));
  const tenant = useOne(["tenants", "one", name], ask);
  if (tenant.data === undefined)
    return (
      <Page title={name}>
        {tenant.isPending ? <Loading /> : <Failure problem={tenant.error} />}
      </Page>
    );
  const { value } = tenant.data;
  return (
    <Page
      title={value.name}
      actions={
        <>
          <CopyAs calls={() => [api.GET("/v1/tenants/{tenant}", { params: { path } })]} />
          {can("deleteTenant") && (
            <Removal
              title="Delete tenant"
              text="Its domains must be deleted before. Its keys and webhooks are deleted with it."
              typed={value.name}
              call={() => api.DELETE("/v1/tenants/{tenant}", { params: { path } })}
              changes={["tenants"]}
              said={`Deleted ${value.name}`}
              done={() => void navigate({ to: "/tenants" })}
            />
          )}
        </>
      }
    >
      <Facts
        facts={[
          [
            "State",
            <State key="state" kind={value.state === "active" ? "good" : "bad"}>
              {value.state}
            </State>,
          ],
          [
            "Domains",
            <Against key="d" used={value.domains} most={value.max_domains} label="Domains" />,
          ],
          [
            "Accounts",
            <Against key="a" used={value.accounts} most={value.max_accounts} label="Accounts" />,
          ],
          [
            "Promised to accounts",
            <Against
              key="q"
              used={value.promised_bytes}
              most={value.quota_bytes}
              label="Quotas"
              shown={size}
            />,
          ],
          ["Messages an hour", value.max_messages_per_hour ?? "unlimited"],
          ["Recipients an hour", value.max_recipients_per_hour ?? "unlimited"],
          ["Created", <Time key="created" at={value.created_at} />],
        ]}
      />
      {can("getConfig") && (
        <p>
          <Link to="/configuration" search={{ tenant: value.name }}>
            Its whole configuration
          </Link>
        </p>
      )}
      {can("changeTenant") && (
        <Section title="Limits">
          <Edit
            fields={[STATE, ...LIMITS]}
            read={tenant.data}
            ask={ask}
            save={(change, tag) =>
              api.PATCH("/v1/tenants/{tenant}", {
                params: { path, header: only(tag) },
                body: change,
              })
            }
            changes={["tenants"]}
            said={`Changed ${value.name}`}
          />
        </Section>
      )}
    </Page>
  );
}
