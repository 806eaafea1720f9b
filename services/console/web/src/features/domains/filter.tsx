import { api, only } from "../../api/client";
import { useCan } from "../../api/me";
import { FilterPolicy } from "../../parts/filter-policy";

/** What the filters do with mail of a domain's accounts. */
export function Filter({ name }: { name: string }) {
  const can = useCan();
  const path = { name };
  return (
    <FilterPolicy
      owner={name}
      stored={() => api.GET("/v1/domains/{name}/filter-policy", { params: { path } })}
      effective={() => api.GET("/v1/domains/{name}/filter-policy/effective", { params: { path } })}
      save={
        can("setDomainFilterPolicy") &&
        ((body, tag) =>
          api.PUT("/v1/domains/{name}/filter-policy", {
            params: { path, header: only(tag) },
            body,
          }))
      }
    />
  );
}
