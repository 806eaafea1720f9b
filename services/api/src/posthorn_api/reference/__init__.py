"""The API's reference: a page at ``/docs`` made by Swagger UI, and the OpenAPI document that it
shows."""
