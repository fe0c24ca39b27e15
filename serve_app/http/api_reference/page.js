// `validatorUrl: null`: Swagger UI would show the document to a checker of another host.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#page", deepLinking: true, validatorUrl: null });
