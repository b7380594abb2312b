"""The AWS services whose operations are named by header, form field or rpcv2Cbor path, one row each.

A service that is not in the table is not named at all, so a wrong row is worse than a missing one: on a REST
service `X-Amz-Target` is ignored, and naming by it would let a delete pass as a describe.

Row: signing name, protocols, X-Amz-Target prefixes, host labels other than the signing name.
Sources: each service's API reference ("Common parameters", "Making API requests") and AWS General Reference,
"Service endpoints"; a test compares every row with botocore's models.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

TABLE = """
acm                      json              CertificateManager
application-autoscaling  json              AnyScaleFrontendService
apprunner                json              AppRunner
athena                   json              AmazonAthena
autoscaling              query             -
autoscaling-plans        json              AnyScaleScalingPlannerFrontendService
budgets                  json              AWSBudgetServiceGateway
cassandra                json,cbor         KeyspacesService
ce                       json              AWSInsightsIndexService
cloudcontrolapi          json              CloudApiService
cloudformation           query             -
cloudhsm                 json,cbor         BaldrApiService,CloudHsmFrontendService       cloudhsmv2
cloudsearch              query             -
cloudtrail               json              com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101
codebuild                json,cbor         CodeBuild_20161006
codecommit               json              CodeCommit_20150413
codedeploy               json,cbor         CodeDeploy_20141006
codepipeline             json,cbor         CodePipeline_20150709
cognito-identity         json              AWSCognitoIdentityService
cognito-idp              json              AWSCognitoIdentityProviderService
config                   json              StarlingDoveService
datasync                 json,cbor         FmrsService
directconnect            json,cbor         OvertureService
dms                      json              AmazonDMSv20160101
ds                       json,cbor         DirectoryService_20150416
dynamodb                 json              DynamoDB_20120810,DynamoDBStreams_20120810    streams.dynamodb,ddb
ec2                      query             -
ec2-instance-connect     json              AWSEC2InstanceConnectService
ecr                      json              AmazonEC2ContainerRegistry_V20150921          api.ecr
ecs                      json              AmazonEC2ContainerServiceV20141113
elasticache              query             -
elasticbeanstalk         query             -
elasticloadbalancing     query             -
elasticmapreduce         json              ElasticMapReduce
events                   json              AWSEvents
firehose                 json              Firehose_20150804
fms                      json,cbor         AWSFMS_20180101
fsx                      json              AWSSimbaAPIService_v20180301
globalaccelerator        json              GlobalAccelerator_V20180706
glue                     json              AWSGlue
health                   json,cbor         AWSHealth_20160804
iam                      query             -
identitystore            json              AWSIdentityStore
kinesis                  json              Kinesis_20131202
kms                      json              TrentService
license-manager          json              AWSLicenseManager
lightsail                json              Lightsail_20161128
logs                     json              Logs_20140328
memorydb                 json,cbor         AmazonMemoryDB                                memory-db
monitoring               json,query,cbor   GraniteServiceVersion20100801
network-firewall         json,cbor         NetworkFirewall_20201112
organizations            json              AWSOrganizationsV20161128
pricing                  json              AWSPriceListService                           api.pricing
rds                      query             -
redshift                 query             -
redshift-data            json              RedshiftData
redshift-serverless      json              RedshiftServerless
rekognition              json              RekognitionService
route53domains           json,cbor         Route53Domains_v20140515
route53resolver          json              Route53Resolver
sagemaker                json              SageMaker                                     api.sagemaker
sdb                      query             -
secretsmanager           json              secretsmanager
servicecatalog           json,cbor         AWS242ServiceCatalogService
servicediscovery         json,cbor         Route53AutoNaming_v20170314
servicequotas            json              ServiceQuotasV20190624
ses                      query             -                                             email
shield                   json,cbor         AWSShield_20160616
sns                      query             -
sqs                      json,query        AmazonSQS                                     queue
ssm                      json              AmazonSSM
sso                      json              SWBExternalService
states                   json              AWSStepFunctions                              sync-states
storagegateway           json              StorageGateway_20130630
sts                      query             -
support                  json              AWSSupport_20130415
swf                      json              SimpleWorkflowService
tagging                  json,cbor         ResourceGroupsTaggingAPI_20170126
textract                 json,cbor         Textract
transcribe               json,cbor         Transcribe
transfer                 json              TransferService
translate                json,cbor         AWSShineFrontendService_20170701
waf                      json              AWSWAF_20150824
waf-regional             json              AWSWAF_Regional_20161128
wafv2                    json              AWSWAF_20190729
workspaces               json,cbor         WorkspacesService
"""


@dataclass(frozen=True, slots=True)
class Service:
    """One service: how it is signed, spoken to and found."""

    name: str
    """The signing name, which is also the IAM prefix for all but a few."""
    protocols: frozenset[str]
    """Of "json", "query" (awsQuery and ec2Query) and "cbor"."""
    target_prefixes: frozenset[str]
    hosts: tuple[str, ...]


def read_table(text: str) -> Mapping[str, Service]:
    """Return the rows of the table by signing name."""
    return {service.name: service for service in map(_row, text.strip().splitlines())}


def _row(line: str) -> Service:
    name, protocols, prefixes, *hosts = line.split()
    labels = hosts[0].split(",") if hosts else []
    return Service(name, frozenset(protocols.split(",")), frozenset(prefixes.split(",")) - {"-"}, (name, *labels))


def host_labels(services: Iterable[Service]) -> Mapping[str, str]:
    """Return the signing name for what is left of an Amazon host without region and suffix."""
    return {label: service.name for service in services for label in service.hosts}


SERVICES = read_table(TABLE)
HOST_LABELS = host_labels(SERVICES.values())
